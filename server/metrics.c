#include "metrics.h"
#include "net/conn.h"
#include "ops.h"
#include "webhooks/sender.h"
#include <annals/build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TRY(call)                                                                                  \
	do {                                                                                       \
		int try_status_ = (call);                                                          \
		if (try_status_ != 0) {                                                            \
			return try_status_;                                                        \
		}                                                                                  \
	} while (0)

static const char *const protocol_names[COUNTER_PROTOCOLS] = {
	[COUNTER_BINARY] = "binary", [COUNTER_HTTP] = "http"};

static int head(struct buf *out, const char *name, const char *type, const char *help)
{
	return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int one(struct buf *out, const char *name, const char *type, const char *help, double value)
{
	TRY(head(out, name, type, help));
	return buf_printf(out, "%s %.17g\n", name, value);
}

/* The sum of one counter over all loops. */
static uint64_t sum(const struct server *server, size_t place)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < server->loop_count; i++) {
		const char *counters = (const char *)&server->loops[i].counters;
		total +=
			counter_get((const atomic_uint_fast64_t *)(const void *)(counters + place));
	}
	return total;
}
#define SUM(server, member) sum(server, offsetof(struct counters, member))
#define SUM_AT(server, member, index)                                                              \
	sum(server, offsetof(struct counters, member) + (index) * sizeof(atomic_uint_fast64_t))

/* ---- Storage ---- */

struct store_row {
	const char *name, *type, *help;
	size_t place;
};
#define ROW(member, metric, kind, text)                                                            \
	{                                                                                          \
		.name = metric, .type = kind, .help = text,                                        \
		.place = offsetof(struct store_stats, member)                                      \
	}
static const struct store_row store_rows[] = {
	ROW(appended_events, "annals_events_appended_total", "counter", "Events made durable."),
	ROW(appended_bytes, "annals_bytes_appended_total", "counter",
		"Bytes of batches made durable."),
	ROW(append_requests, "annals_append_requests_total", "counter", "Appends made durable."),
	ROW(commits, "annals_commits_total", "counter", "Blocks written and synced."),
	ROW(commit_bytes, "annals_commit_bytes_total", "counter", "Bytes of blocks."),
	ROW(offset_commits, "annals_offset_commits_total", "counter",
		"Offset commits made durable."),
	ROW(queue_requests, "annals_queue_requests", "gauge", "Requests waiting for the writer."),
	ROW(queue_bytes, "annals_queue_bytes", "gauge", "Bytes waiting for the writer."),
	ROW(refused_overloaded, "annals_refused_overloaded_total", "counter",
		"Requests refused because the queue was full."),
	ROW(refused_full, "annals_refused_storage_full_total", "counter",
		"Requests refused because the disk was full."),
	ROW(tail_bytes, "annals_tail_bytes", "gauge", "Bytes in the journal and not yet in LMDB."),
	ROW(tail_blocks, "annals_tail_blocks", "gauge", "Blocks in the tail."),
	ROW(settled_bytes, "annals_settled_bytes_total", "counter", "Bytes folded into LMDB."),
	ROW(settle_commits, "annals_settle_commits_total", "counter", "LMDB commits."),
	ROW(settle_backlog_partitions, "annals_settle_backlog_partitions", "gauge",
		"Partitions with events not yet in LMDB."),
	ROW(journal_bytes, "annals_journal_bytes", "gauge", "Bytes of journal segments."),
	ROW(journal_segments, "annals_journal_segments", "gauge", "Journal segments."),
	ROW(last_block, "annals_last_block", "gauge", "Number of the last block."),
	ROW(last_position, "annals_last_position", "gauge", "Position of the last event."),
	ROW(read_requests, "annals_reads_total", "counter", "Pages read."),
	ROW(read_bytes, "annals_read_bytes_total", "counter", "Bytes of pages read."),
	ROW(cold_reads, "annals_cold_reads_total", "counter",
		"Pages that had to come from the disk."),
	ROW(corrupt_reads, "annals_corrupt_reads_total", "counter", "Reads that met damaged data."),
	ROW(trimmed_events, "annals_events_removed_total", "counter",
		"Events removed by retention."),
	ROW(trimmed_chunks, "annals_chunks_removed_total", "counter",
		"Chunks removed by retention."),
	ROW(map_used_bytes, "annals_lmdb_map_used_bytes", "gauge", "Used part of the LMDB map."),
	ROW(free_pages, "annals_lmdb_free_pages", "gauge", "Free pages of LMDB."),
	ROW(topics, "annals_topics", "gauge", "Topics."),
	ROW(partitions, "annals_partitions", "gauge", "Partitions of all topics."),
	ROW(watches, "annals_watches", "gauge", "Readers waiting for events."),
	ROW(disk_free_bytes, "annals_disk_free_bytes", "gauge",
		"Free space of the data directory's file system."),
};

/* buckets[i] counts values below 2^(i+shift); unit scales them. */
static int histogram(struct buf *out, const char *name, const char *help, const uint64_t *buckets,
	unsigned count, unsigned shift, double unit, double total)
{
	uint64_t cumulative = 0;
	TRY(head(out, name, "histogram", help));
	for (unsigned i = 0; i + 1 < count; i++) {
		cumulative += buckets[i];
		TRY(buf_printf(out, "%s_bucket{le=\"%.9g\"} %llu\n", name,
			(double)(1ull << (i + shift)) * unit, (unsigned long long)cumulative));
	}
	cumulative += buckets[count - 1];
	return buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name,
		(unsigned long long)cumulative, name, total, name, (unsigned long long)cumulative);
}

static int write_store(struct buf *out, const struct store_stats *stats)
{
	static const char *const states[] = {[STORE_OPEN] = "open",
		[STORE_FULL] = "full",
		[STORE_READ_ONLY] = "read-only",
		[STORE_CLOSING] = "closing"};
	for (size_t i = 0; i < ANNALS_COUNT_OF(store_rows); i++) {
		const struct store_row *row = &store_rows[i];
		uint64_t value;
		memcpy(&value, (const char *)stats + row->place, sizeof(value));
		TRY(one(out, row->name, row->type, row->help, (double)value));
	}
	TRY(head(out, "annals_storage_state", "gauge", "1 for the state that storage is in."));
	for (size_t i = 0; i < ANNALS_COUNT_OF(states); i++) {
		TRY(buf_printf(out, "annals_storage_state{state=\"%s\"} %d\n", states[i],
			stats->state == i));
	}
	TRY(one(out, "annals_disk_watermark", "gauge", "0: appends are taken, 2: the disk is full.",
		stats->state == STORE_FULL ? 2 : 0));
	TRY(one(out, "annals_lmdb_oldest_reader_seconds", "gauge",
		"Age of the oldest LMDB snapshot in use.",
		(double)stats->oldest_reader_age_us / 1e6));
	TRY(histogram(out, "annals_fsync_duration_seconds", "Time of the journal's flush.",
		stats->sync_buckets, ANNALS_COUNT_OF(stats->sync_buckets), 10, 1e-9,
		(double)stats->sync_ns_total / 1e9));
	return histogram(out, "annals_commit_batch_events", "Events in one commit.",
		stats->commit_events_buckets, ANNALS_COUNT_OF(stats->commit_events_buckets), 0, 1,
		(double)stats->appended_events);
}

/* ---- Server ---- */

static int by_protocol(struct buf *out, const struct server *server, const char *name,
	const char *type, const char *help, size_t place)
{
	TRY(head(out, name, type, help));
	for (unsigned i = 0; i < COUNTER_PROTOCOLS; i++) {
		TRY(buf_printf(out, "%s{protocol=\"%s\"} %llu\n", name, protocol_names[i],
			(unsigned long long)sum(server, place + i * sizeof(atomic_uint_fast64_t))));
	}
	return 0;
}

static int write_connections(struct buf *out, const struct server *server)
{
	TRY(by_protocol(out, server, "annals_connections", "gauge", "Open connections.",
		offsetof(struct counters, connections_open)));
	TRY(by_protocol(out, server, "annals_connections_accepted_total", "counter",
		"Accepted connections.", offsetof(struct counters, connections_accepted)));
	TRY(one(out, "annals_connections_refused_total", "counter",
		"Connections refused for connections-max or for want of descriptors.",
		(double)SUM(server, connections_refused)));
	TRY(head(out, "annals_connections_closed_total", "counter",
		"Closed connections by reason."));
	for (unsigned i = 0; i < CONN_CLOSE_REASONS; i++) {
		TRY(buf_printf(out, "annals_connections_closed_total{reason=\"%s\"} %llu\n",
			conn_close_reason_name((enum conn_close_reason)i),
			(unsigned long long)SUM_AT(server, connections_closed, i)));
	}
	TRY(one(out, "annals_received_bytes_total", "counter", "Bytes received.",
		(double)SUM(server, bytes_in)));
	TRY(one(out, "annals_sent_bytes_total", "counter", "Bytes sent.",
		(double)SUM(server, bytes_out)));
	TRY(one(out, "annals_receive_calls_total", "counter", "recv() calls.",
		(double)SUM(server, recv_calls)));
	TRY(one(out, "annals_send_calls_total", "counter", "send() calls.",
		(double)SUM(server, send_calls)));
	TRY(one(out, "annals_loop_turns_total", "counter", "Turns of the event loops.",
		(double)SUM(server, turns)));
	return one(out, "annals_loop_wakes_total", "counter",
		"Turns begun by storage giving requests back.", (double)SUM(server, wakes));
}

static int write_requests(struct buf *out, const struct server *server)
{
	TRY(by_protocol(out, server, "annals_requests_total", "counter", "Requests begun.",
		offsetof(struct counters, requests)));
	TRY(by_protocol(out, server, "annals_requests_in_flight", "gauge",
		"Requests not answered yet.", offsetof(struct counters, requests_in_flight)));
	TRY(head(out, "annals_operations_total", "counter", "Operations ended, by kind."));
	for (unsigned i = 0; i < OP_KINDS; i++) {
		TRY(buf_printf(out, "annals_operations_total{operation=\"%s\"} %llu\n",
			op_kind_name((enum op_kind)i),
			(unsigned long long)SUM_AT(server, operations, i)));
	}
	TRY(head(out, "annals_failures_total", "counter", "Operations that failed, by status."));
	for (int i = 1; i < COUNTERS_STATUSES; i++) {
		uint64_t value = SUM_AT(server, failures, (size_t)i);
		if (value > 0) {
			TRY(buf_printf(out, "annals_failures_total{status=\"%s\"} %llu\n",
				annals_status_name(-i), (unsigned long long)value));
		}
	}
	TRY(head(out, "annals_http_responses_total", "counter", "HTTP responses by class."));
	for (unsigned i = 1; i < 6; i++) {
		TRY(buf_printf(out, "annals_http_responses_total{class=\"%uxx\"} %llu\n", i,
			(unsigned long long)SUM_AT(server, http_responses, i)));
	}
	TRY(head(out, "annals_events_invalid_total", "counter",
		"Events whose data is not what the schema of their type says; of a refused append "
		"the "
		"first one."));
	TRY(buf_printf(out,
		"annals_events_invalid_total{validation=\"warn\"} %llu\n"
		"annals_events_invalid_total{validation=\"enforce\"} %llu\n",
		(unsigned long long)SUM_AT(server, invalid_events, 0),
		(unsigned long long)SUM_AT(server, invalid_events, 1)));
	TRY(one(out, "annals_events_delivered_total", "counter", "Events handed to readers.",
		(double)SUM(server, events_delivered)));
	TRY(one(out, "annals_bytes_delivered_total", "counter",
		"Bytes of batches handed to readers.", (double)SUM(server, bytes_delivered)));
	TRY(one(out, "annals_subscriptions", "gauge", "Subscriptions and event streams now open.",
		(double)SUM(server, subscriptions)));
	return one(out, "annals_waiting_reads", "gauge", "Reads now waiting for events.",
		(double)SUM(server, waits));
}

static int write_latency(struct buf *out, const struct server *server)
{
	uint64_t buckets[COUNTERS_LATENCY_BUCKETS];
	for (unsigned i = 0; i < COUNTERS_LATENCY_BUCKETS; i++) {
		buckets[i] = SUM_AT(server, append_latency, i);
	}
	return histogram(out, "annals_append_duration_seconds",
		"Time of an append from its arrival to its answer.", buckets,
		COUNTERS_LATENCY_BUCKETS, 14, 1e-9,
		(double)SUM(server, append_latency_ns_total) / 1e9);
}

/* ---- Process: the names that every Prometheus client uses ---- */

static int write_process(struct buf *out, const struct server *server)
{
	struct rusage usage;
	unsigned long long resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file != NULL) {
		char line[128];
		char *end = line;
		if (fgets(line, sizeof(line), file) != NULL) {
			(void)strtoull(line, &end, 10);
			resident = strtoull(end, NULL, 10);
		}
		(void)fclose(file);
	}
	TRY(one(out, "process_resident_memory_bytes", "gauge",
		"Resident memory, mapped file pages included.",
		(double)resident * (double)sysconf(_SC_PAGESIZE)));
	TRY(one(out, "process_start_time_seconds", "gauge", "When the server started.",
		(double)server->started_us / 1e6));
	if (getrusage(RUSAGE_SELF, &usage) == 0) {
		TRY(one(out, "process_cpu_seconds_total", "counter", "Processor time.",
			(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6));
	}
	return 0;
}

/* ---- Consumer groups ---- */

struct group_metric {
	const char *name, *type, *help;
	size_t offset; /* of a uint64_t in struct group_info */
};
struct group_writing {
	struct buf *out;
	const struct group_metric *metric;
};

static int write_group_metric(void *arg, const struct group_info *info)
{
	const struct group_writing *writing = arg;
	uint64_t value;
	if (info->config.mode != GROUP_BY_EVENT) {
		return 0;
	}
	memcpy(&value, (const char *)info + writing->metric->offset, sizeof(value));
	return buf_printf(writing->out, "%s{group=\"%s\"} %llu\n", writing->metric->name,
		info->name, (unsigned long long)value);
}

static int write_lag_events(void *out, const struct group_lag *lag)
{
	return buf_printf(out, "annals_group_lag_events{group=\"%s\"} %llu\n", lag->name,
		(unsigned long long)lag->lag);
}

static int write_lag_seconds(void *out, const struct group_lag *lag)
{
	return buf_printf(out, "annals_group_lag_seconds{group=\"%s\"} %.3f\n", lag->name,
		(double)lag->lag_us / 1e6);
}

static int write_lags(struct buf *out, const struct server *server)
{
	TRY(head(out, "annals_group_lag_events", "gauge",
		"Events that a group has not finished, or not committed."));
	TRY(delivery_lags(server->delivery, write_lag_events, out));
	TRY(head(out, "annals_group_lag_seconds", "gauge",
		"Age of the oldest event that a group has not finished, or not committed."));
	return delivery_lags(server->delivery, write_lag_seconds, out);
}

static int write_groups(struct buf *out, const struct server *server)
{
	static const struct group_metric metrics[] = {
		{"annals_group_inflight", "gauge", "Events that members work on.",
			offsetof(struct group_info, leased)},
		{"annals_group_delayed", "gauge", "Refused events that come again later.",
			offsetof(struct group_info, delayed)},
		{"annals_group_waiting_events", "gauge",
			"Events behind an earlier one of their key.",
			offsetof(struct group_info, waiting)},
		{"annals_group_waiting_fetches", "gauge", "Polls that wait.",
			offsetof(struct group_info, waiting_polls)},
		{"annals_group_parked", "gauge", "Parked events.",
			offsetof(struct group_info, parked)},
		{"annals_group_parked_bytes", "gauge", "Bytes of copies of parked events.",
			offsetof(struct group_info, parked_bytes)},
		{"annals_group_deliveries_total", "counter", "Events handed out.",
			offsetof(struct group_info, deliveries)},
		{"annals_group_redelivered_total", "counter", "Events handed out again.",
			offsetof(struct group_info, redeliveries)},
		{"annals_group_acknowledged_total", "counter", "Events acknowledged.",
			offsetof(struct group_info, acknowledged)},
		{"annals_group_refused_total", "counter", "Events refused.",
			offsetof(struct group_info, refused)},
		{"annals_group_expired_total", "counter", "Leases that ran out.",
			offsetof(struct group_info, expired)},
		{"annals_group_parked_total", "counter", "Events parked since the start.",
			offsetof(struct group_info, parked_total)},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(metrics); i++) {
		struct group_writing writing = {out, &metrics[i]};
		TRY(head(out, metrics[i].name, metrics[i].type, metrics[i].help));
		TRY(delivery_stats(server->delivery, write_group_metric, &writing));
	}
	return write_lags(out, server);
}

/* ---- Delayed events ---- */

static int write_schedule(struct buf *out, const struct server *server)
{
	struct schedule_stats stats;
	schedule_stats(server->schedule, &stats);
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} metrics[] = {
		{"annals_delayed_events", "gauge", "Events that wait until they are due.",
			stats.waiting},
		{"annals_delayed_next_due_timestamp_seconds", "gauge",
			"When the first of them is due; 0 if none waits.",
			stats.next_due_us / 1000000},
		{"annals_delayed_appended_total", "counter",
			"Delayed events appended when they were due.", stats.appended_total},
		{"annals_delayed_dropped_total", "counter",
			"Delayed events of topics that were deleted.", stats.dropped_total},
		{"annals_delayed_refused_total", "counter",
			"Tries to append a due event that the log refused; each comes again.",
			stats.refused_total},
	};
	for (size_t i = 0; i < ANNALS_COUNT_OF(metrics); i++) {
		TRY(head(out, metrics[i].name, metrics[i].type, metrics[i].help));
		TRY(buf_printf(
			out, "%s %llu\n", metrics[i].name, (unsigned long long)metrics[i].value));
	}
	return 0;
}

/* ---- Webhooks ---- */

static int write_webhook_outcomes(void *arg, const char *name,
	enum webhook_state state ANNALS_UNUSED, const struct webhook_status *status)
{
	for (unsigned i = 0; i < WEBHOOK_OUTCOMES; i++) {
		TRY(buf_printf(arg,
			"annals_webhook_deliveries_total{webhook=\"%s\",outcome=\"%s\"} %llu\n",
			name, webhook_outcome_name((enum webhook_outcome)i),
			(unsigned long long)status->outcomes[i]));
	}
	return 0;
}

static int write_webhook_inflight(void *arg, const char *name,
	enum webhook_state state ANNALS_UNUSED, const struct webhook_status *status)
{
	return buf_printf(arg, "annals_webhook_inflight{webhook=\"%s\"} %llu\n", name,
		(unsigned long long)status->in_flight);
}

static int write_webhook_state(void *arg, const char *name, enum webhook_state state,
	const struct webhook_status *status ANNALS_UNUSED)
{
	for (unsigned i = 0; i < WEBHOOK_STATES; i++) {
		TRY(buf_printf(arg, "annals_webhook_state{webhook=\"%s\",state=\"%s\"} %d\n", name,
			webhook_state_name((enum webhook_state)i), state == i));
	}
	return 0;
}

static int write_webhooks(struct buf *out, const struct server *server)
{
	struct webhooks_latency latency;
	TRY(head(out, "annals_webhook_deliveries_total", "counter",
		"Events of webhooks by what became of sending them."));
	TRY(webhooks_each(server->webhooks, write_webhook_outcomes, out));
	TRY(head(out, "annals_webhook_inflight", "gauge", "Requests to receivers under way."));
	TRY(webhooks_each(server->webhooks, write_webhook_inflight, out));
	TRY(head(out, "annals_webhook_state", "gauge", "1 for the state a webhook is in."));
	TRY(webhooks_each(server->webhooks, write_webhook_state, out));
	webhooks_latency(server->webhooks, &latency);
	return histogram(out, "annals_webhook_duration_seconds",
		"Time from sending an event to a receiver to its answer, or to giving up.",
		latency.buckets, WEBHOOK_LATENCY_BUCKETS, 14, 1e-9, (double)latency.total_ns / 1e9);
}

int metrics_write(struct server *server, struct buf *out)
{
	struct store_stats stats;
	store_stats(server->store, &stats);
	TRY(head(out, "annals_build_info", "gauge", "The version."));
	TRY(buf_printf(out, "annals_build_info{version=\"%s\"} 1\n", ANNALS_VERSION));
	TRY(write_store(out, &stats));
	TRY(write_connections(out, server));
	TRY(write_requests(out, server));
	TRY(write_latency(out, server));
	TRY(write_groups(out, server));
	TRY(write_schedule(out, server));
	TRY(write_webhooks(out, server));
	return write_process(out, server);
}
