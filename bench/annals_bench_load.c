/*
 * Appends from many connections in one thread with epoll, so that the client costs little: frames
 * are built once and sent again with another correlation. With a rate, requests are due at fixed
 * times and latency counts from then, so a stalled server cannot hide the requests it kept from
 * being sent (coordinated omission).
 */
#include "annals_bench.h"

#include <annals/buf.h>
#include <annals/clock.h>
#include <annals/crc32c.h>
#include <annals/frame.h>
#include <annals/hash.h>
#include <annals/macros.h>
#include <annals/parse.h>
#include <annals/record.h>
#include <annals/thread.h>
#include <annals/wire.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEMPLATES_MAX 10000
#define STREAM_KEY_BYTES 8
#define IN_BYTES ((size_t)(64 << 10))

/* A frame ready to send, and where the parts that change lie. */
struct template
{
	struct buf frame;
	size_t crc_at, body_at, stamp_at;
	size_t key_at, condition_at; /* with streams: the event's key, the condition's */
};

struct sender {
	int fd;
	uint64_t *due_ns; /* per slot: when the request was due */
	uint16_t *free_slots;
	uint64_t free_count;
	struct buf out; /* frames not in the socket yet */
	size_t out_at;
	uint8_t *in;
	size_t in_size;
	bool waits_for_room;
};

struct run {
	const struct bench_load *load;
	struct bench_result *result;
	int epoll_fd;
	struct sender *senders;
	struct template *templates;
	size_t template_count;
	uint64_t next_sender;
	struct random random;
	uint64_t begin_ns, measure_ns, end_ns, now_ns;
	uint64_t sent, answered, in_flight;
	bool failed;
};

static int fail(const char *what)
{
	fprintf(stderr, "annals-bench: %s: %s\n", what, strerror(errno));
	return -1;
}

static int make_template(struct template *template, const struct bench_load *load, size_t index)
{
	const struct bench_options *options = load->options;
	struct buf body = BUF_INIT, control = BUF_INIT;
	char key[32];
	uint8_t *data = calloc(1, options->event_bytes + 8);
	struct random random = {index + 1};
	for (size_t i = 0; data && i < options->event_bytes; i++) {
		data[i] = (uint8_t)('a' + random_below(&random, 26));
	}
	struct record record = {.type = bytes_text("b"),
		.data = bytes_of(data, options->event_bytes),
		.has_data = true};
	uint32_t partition = (uint32_t)(index % options->partitions);
	int status = data ? ANNALS_OK : ANNALS_E_NO_MEMORY;
	for (uint64_t i = 0; status == ANNALS_OK && i < load->batch; i++) {
		if (load->streams) {
			record.key = bytes_text("s0000000");
			record.has_key = true;
		} else if (options->keys > 0) {
			/* A key of this partition. */
			do {
				snprintf(key, sizeof(key), "k%llu",
					(unsigned long long)random_below(&random, options->keys));
				record.key = bytes_text(key);
			} while (record_partition(record.key, (uint32_t)options->partitions) !=
				 partition);
			record.has_key = true;
		}
		status = record_encode_in_batch(&record, &body);
	}
	free(data);
	struct wire_append_batch batch = {.partition = partition,
		.count = (uint32_t)load->batch,
		.body_bytes = (uint32_t)body.size,
		.body_crc = crc32c(0, body.data, body.size)};
	if (status == ANNALS_OK) {
		status = wire_append_request_encode(
			&control, bytes_text(BENCH_TOPIC), options->durability, &batch, 1);
	}
	if (status == ANNALS_OK && load->streams) {
		/* stream_condition = 4 {key = 1, expect = 2: VERSION (3), version = 3}; the version
		 * is a varint padded to five bytes, so that it can be changed in place. */
		static const uint8_t condition[] = {4 << 3 | 2, 10 + STREAM_KEY_BYTES, 1 << 3 | 2,
			STREAM_KEY_BYTES, 's', '0', '0', '0', '0', '0', '0', '0', 2 << 3, 3, 3 << 3,
			0x80, 0x80, 0x80, 0x80, 0};
		template->condition_at = FRAME_HEADER_BYTES + control.size + 4;
		status = buf_add(&control, condition, sizeof(condition));
	}
	if (status == ANNALS_OK) {
		status = buf_add_zeros(&template->frame, FRAME_HEADER_BYTES);
	}
	if (status == ANNALS_OK &&
		(buf_add(&template->frame, control.data, control.size) != ANNALS_OK ||
			buf_add(&template->frame, body.data, body.size) != ANNALS_OK)) {
		status = ANNALS_E_NO_MEMORY;
	}
	if (status == ANNALS_OK) {
		frame_write_header(template->frame.data, FRAME_REQUEST, FRAME_APPEND, 0, 1,
			control.size, body.size);
		/* The checksum is the only fixed32 with these bytes in the small control message.
		 */
		uint8_t *crc = memmem(template->frame.data + FRAME_HEADER_BYTES, control.size,
			&batch.body_crc, 4);
		template->crc_at = crc ? (size_t)(crc - template->frame.data) : 0;
		template->body_at = FRAME_HEADER_BYTES + control.size;
		template->stamp_at = template->frame.size - options->event_bytes;
		uint8_t *stream_key = load->streams
					      ? memmem(template->frame.data + template->body_at,
							body.size, "s0000000", STREAM_KEY_BYTES)
					      : NULL;
		template->key_at = stream_key ? (size_t)(stream_key - template->frame.data) : 0;
	}
	buf_release(&body);
	buf_release(&control);
	return status;
}

/* The same over HTTP: a structured CloudEvent, or lines of them. */
static int make_http_template(
	struct template *template, const struct bench_load *load, size_t index)
{
	const struct bench_options *options = load->options;
	struct buf body = BUF_INIT;
	struct random random = {index + 1};
	char head[512];
	char *data = calloc(1, options->event_bytes + 1);
	int status = data ? ANNALS_OK : ANNALS_E_NO_MEMORY;
	for (size_t i = 0; data && i < options->event_bytes; i++) {
		data[i] = (char)('a' + random_below(&random, 26));
	}
	for (uint64_t i = 0; status == ANNALS_OK && i < load->batch; i++) {
		int size = snprintf(head, sizeof(head),
			"{\"specversion\":\"1.0\",\"id\":\"%llu\",\"source\":\"/"
			"bench\",\"type\":\"b\","
			"\"datacontenttype\":\"application/json\",\"data\":\"",
			(unsigned long long)(index * load->batch + i));
		if (buf_add(&body, head, (size_t)size) != ANNALS_OK ||
			buf_add(&body, data, options->event_bytes) != ANNALS_OK ||
			buf_add(&body, "\"}\n", 3) != ANNALS_OK) {
			status = ANNALS_E_NO_MEMORY;
		}
	}
	int size = snprintf(head, sizeof(head),
		"POST /v1/topics/" BENCH_TOPIC "/events?durability=%s HTTP/1.1\r\nHost: bench\r\n"
		"Content-Type: application/%s\r\nContent-Length: %zu\r\n\r\n",
		options->durability_name, load->batch == 1 ? "cloudevents+json" : "x-ndjson",
		body.size);
	if (status == ANNALS_OK &&
		(buf_add(&template->frame, head, (size_t)size) != ANNALS_OK ||
			buf_add(&template->frame, body.data, body.size) != ANNALS_OK)) {
		status = ANNALS_E_NO_MEMORY;
	}
	free(data);
	buf_release(&body);
	return status;
}

static int say_hello(int fd)
{
	/* HelloRequest: magic fixed32 = 1, version_min = 2, version_max = 3. */
	uint8_t hello[FRAME_HEADER_BYTES + 9] = {0}, *control = hello + FRAME_HEADER_BYTES;
	uint8_t in[4096];
	size_t in_size = 0, needed = 0;
	struct frame frame;
	int got = 0;
	frame_write_header(hello, FRAME_REQUEST, FRAME_HELLO, 0, UINT32_MAX, 9, 0);
	control[0] = 1 << 3 | 5;
	store_u32(control + 1, FRAME_HELLO_MAGIC);
	control[5] = 2 << 3;
	control[6] = FRAME_VERSION_MIN;
	control[7] = 3 << 3;
	control[8] = FRAME_VERSION_MAX;
	if (send(fd, hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello)) {
		return fail("cannot send hello");
	}
	while (got == 0) {
		ssize_t received = recv(fd, in + in_size, sizeof(in) - in_size, 0);
		if (received <= 0) {
			return fail("no answer to hello");
		}
		in_size += (size_t)received;
		got = frame_parse(bytes_of(in, in_size), sizeof(in), &frame, &needed, NULL);
	}
	if (got < 0 || frame.status != 0) {
		errno = EPROTO;
		return fail("the server refused hello");
	}
	return 0;
}

int bench_connect(bool http)
{
	char host[256];
	uint16_t port;
	struct sockaddr_in to = {.sin_family = AF_INET};
	const char *address = http ? bench_server_http_address() : bench_server_address();
	if (parse_host_port(bytes_text(address), host, &port) != ANNALS_OK ||
		inet_pton(AF_INET, host, &to.sin_addr) != 1) {
		errno = EINVAL;
		return fail("the load needs a numeric IPv4 address");
	}
	to.sin_port = htons(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		(void)fail("cannot connect");
		goto failed;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (http || say_hello(fd) == 0) {
		return fd;
	}
failed:
	if (fd >= 0) {
		close(fd);
	}
	return -1;
}

static int open_sender(struct sender *sender, const struct bench_load *load)
{
	sender->due_ns = calloc(load->in_flight, sizeof(*sender->due_ns));
	sender->free_slots = calloc(load->in_flight, sizeof(*sender->free_slots));
	sender->in = malloc(IN_BYTES);
	if (!sender->due_ns || !sender->free_slots || !sender->in) {
		errno = ENOMEM;
		return fail("no memory");
	}
	for (uint64_t i = 0; i < load->in_flight; i++) {
		sender->free_slots[sender->free_count++] = (uint16_t)i;
	}
	sender->fd = bench_connect(load->http);
	return sender->fd < 0 ? -1 : 0;
}

static int flush(struct run *run, struct sender *sender)
{
	while (sender->out_at < sender->out.size) {
		ssize_t sent = send(sender->fd, sender->out.data + sender->out_at,
			sender->out.size - sender->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EAGAIN) {
			break;
		}
		if (sent < 0) {
			return fail("sending");
		}
		sender->out_at += (size_t)sent;
	}
	bool waits = sender->out_at < sender->out.size;
	if (!waits) {
		buf_reset(&sender->out);
		sender->out_at = 0;
	}
	if (waits != sender->waits_for_room) {
		struct epoll_event event = {
			.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data = {.ptr = sender}};
		sender->waits_for_room = waits;
		return epoll_ctl(run->epoll_fd, EPOLL_CTL_MOD, sender->fd, &event);
	}
	return 0;
}

/* Writes the next stream's key and expected version over the template's. */
static void set_stream(struct run *run, struct template *template)
{
	struct bench_streams *streams = run->load->streams;
	uint64_t stream = streams->next++ % streams->count;
	uint64_t version = streams->versions[stream]++;
	char key[STREAM_KEY_BYTES + 1];
	snprintf(key, sizeof(key), "s%07u", (unsigned)(stream % 10000000));
	uint8_t *condition = template->frame.data + template->condition_at;
	memcpy(template->frame.data + template->key_at, key, STREAM_KEY_BYTES);
	memcpy(condition, key, STREAM_KEY_BYTES);
	for (size_t i = 0; i < 5; i++, version >>= 7) {
		condition[STREAM_KEY_BYTES + 3 + i] =
			(uint8_t)((version & 0x7f) | (i < 4 ? 0x80 : 0));
	}
}

static int send_one(struct run *run, struct sender *sender, uint64_t due_ns)
{
	struct template *template =
		&run->templates[random_below(&run->random, run->template_count)];
	uint16_t slot = sender->free_slots[--sender->free_count];
	sender->due_ns[slot] = due_ns;
	if (!run->load->http) {
		store_u32(template->frame.data + 8, slot + 1u);
	}
	if (run->load->streams) {
		set_stream(run, template);
	}
	if (run->load->stamp) {
		store_u64(template->frame.data + template->stamp_at, due_ns);
	}
	if (run->load->stamp || run->load->streams) {
		store_u32(template->frame.data + template->crc_at,
			crc32c(0, template->frame.data + template->body_at,
				template->frame.size - template->body_at));
	}
	run->sent++;
	run->in_flight++;
	if (buf_add(&sender->out, template->frame.data, template->frame.size) != ANNALS_OK) {
		errno = ENOMEM;
		return fail("no memory");
	}
	return 0;
}

/* Whether another request may begin. */
static bool wants_more(const struct run *run)
{
	const struct bench_load *load = run->load;
	if (load->stop && *load->stop) {
		return false;
	}
	return load->events ? run->sent * load->batch < load->events : run->now_ns < run->end_ns;
}

static int fill(struct run *run, struct sender *sender)
{
	while (run->load->rate == 0 && sender->free_count > 0 && wants_more(run)) {
		if (send_one(run, sender, run->now_ns) != 0) {
			return -1;
		}
	}
	return flush(run, sender);
}

static void answered(struct run *run, struct sender *sender, uint64_t slot, int status)
{
	if (slot >= run->load->in_flight) {
		run->failed = true;
		return;
	}
	uint64_t due_ns = sender->due_ns[slot];
	sender->free_slots[sender->free_count++] = (uint16_t)slot;
	run->answered++;
	run->in_flight--;
	if (status != 0) {
		if (run->result->failed++ == 0) {
			fprintf(stderr, "annals-bench: the server answered %s\n",
				run->load->http ? "an HTTP error" : annals_status_name(-status));
		}
		return;
	}
	if (run->now_ns >= run->measure_ns && (run->load->events || run->now_ns <= run->end_ns)) {
		run->result->requests++;
		histogram_add(&run->result->latency, run->now_ns - due_ns);
	}
}

/* Takes one HTTP answer from the front of `text`; its size, or 0 while it is not whole. */
static size_t parse_http(const uint8_t *text, size_t size, int *ret_status)
{
	const uint8_t *end = memmem(text, size, "\r\n\r\n", 4);
	if (!end) {
		return 0;
	}
	size_t head = (size_t)(end - text) + 4, body = 0;
	const uint8_t *at = memmem(text, head, "Content-Length: ", 16);
	if (!at) {
		at = memmem(text, head, "content-length: ", 16);
	}
	for (at = at ? at + 16 : end; at < end && *at >= '0' && *at <= '9'; at++) {
		body = body * 10 + (size_t)(*at - '0');
	}
	*ret_status = head > 12 && text[9] == '2' ? 0 : 1;
	return size >= head + body ? head + body : 0;
}

static int input(struct run *run, struct sender *sender)
{
	ssize_t got = recv(
		sender->fd, sender->in + sender->in_size, IN_BYTES - sender->in_size, MSG_DONTWAIT);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		return fail("the connection ended");
	}
	sender->in_size += got > 0 ? (size_t)got : 0;
	size_t at = 0, needed;
	struct frame frame;
	int http_status = 0;
	while (run->load->http) {
		size_t taken = parse_http(sender->in + at, sender->in_size - at, &http_status);
		if (taken == 0) {
			break;
		}
		answered(run, sender, 0, http_status);
		at += taken;
	}
	while (!run->load->http && frame_parse(bytes_of(sender->in + at, sender->in_size - at),
					   IN_BYTES, &frame, &needed, NULL) == 1) {
		answered(run, sender, frame.correlation - 1, (int)frame.status);
		at += frame.size;
	}
	sender->in_size -= at;
	memmove(sender->in, sender->in + at, sender->in_size);
	return 0;
}

/* Open loop: sends what is due to whoever has a free slot. Returns when the next is due. */
static uint64_t send_due(struct run *run, int *ret_status)
{
	const struct bench_load *load = run->load;
	uint64_t interval_ns = 1000000000u / load->rate;
	while (wants_more(run)) {
		uint64_t due_ns = run->begin_ns + run->sent * interval_ns;
		if (due_ns > run->now_ns) {
			return due_ns;
		}
		struct sender *sender = NULL;
		for (uint64_t i = 0; i < load->connections && !sender; i++) {
			struct sender *candidate =
				&run->senders[run->next_sender++ % load->connections];
			sender = candidate->free_count > 0 ? candidate : NULL;
		}
		if (!sender) {
			return UINT64_MAX; /* an answer frees a slot; the delay counts */
		}
		if (send_one(run, sender, due_ns) != 0 || flush(run, sender) != 0) {
			*ret_status = -1;
			return UINT64_MAX;
		}
	}
	return UINT64_MAX;
}

static int loop(struct run *run)
{
	struct epoll_event events[64];
	uint64_t shown_ns = run->begin_ns;
	int status = 0;
	while (status == 0 && !run->failed && (wants_more(run) || run->in_flight > 0)) {
		uint64_t next_ns = run->load->rate ? send_due(run, &status) : UINT64_MAX;
		int64_t wait_ns = next_ns == UINT64_MAX ? 100000000
							: (int64_t)(next_ns - clock_monotonic_ns());
		struct timespec timeout = {0, wait_ns > 0 ? ANNALS_MIN(wait_ns, 100000000) : 0};
		int count = epoll_pwait2(
			run->epoll_fd, events, ANNALS_COUNT_OF(events), &timeout, NULL);
		run->now_ns = clock_monotonic_ns();
		for (int i = 0; i < count && status == 0; i++) {
			struct sender *sender = events[i].data.ptr;
			status = events[i].events & EPOLLIN ? input(run, sender) : 0;
			if (status == 0) {
				status = fill(run, sender);
			}
		}
		if (run->now_ns - shown_ns > 200000000u) {
			shown_ns = run->now_ns;
			bench_progress(run->load->options, "appending",
				(double)(run->now_ns - run->begin_ns) / 1e9,
				run->answered * run->load->batch);
		}
		if (!wants_more(run) && run->load->events == 0 &&
			run->now_ns > run->end_ns + 10000000000u) {
			errno = ETIMEDOUT;
			status = fail("answers are missing");
		}
	}
	return run->failed ? -1 : status;
}

static void release(struct run *run)
{
	for (uint64_t i = 0; run->senders && i < run->load->connections; i++) {
		if (run->senders[i].fd > 0) {
			close(run->senders[i].fd);
		}
		free(run->senders[i].due_ns);
		free(run->senders[i].free_slots);
		free(run->senders[i].in);
		buf_release(&run->senders[i].out);
	}
	for (size_t i = 0; run->templates && i < run->template_count; i++) {
		buf_release(&run->templates[i].frame);
	}
	free(run->templates);
	free(run->senders);
	close(run->epoll_fd);
}

int bench_load_run(const struct bench_load *load, struct bench_result *ret)
{
	struct run run = {.load = load,
		.result = ret,
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.templates = calloc(TEMPLATES_MAX, sizeof(struct template)),
		.random = {1},
		.senders = calloc(load->connections, sizeof(struct sender))};
	int status = run.senders && run.templates ? 0 : -1;
	size_t wanted =
		ANNALS_MIN(ANNALS_MAX(load->options->partitions, load->options->keys ? 16u : 1u),
			(uint64_t)(load->batch > 100 ? 64 : TEMPLATES_MAX));
	for (size_t i = 0; i < wanted && status == 0; i++, run.template_count++) {
		status = load->http ? make_http_template(&run.templates[i], load, i)
				    : make_template(&run.templates[i], load, i);
	}
	for (uint64_t i = 0; i < load->connections && status == 0; i++) {
		status = open_sender(&run.senders[i], load);
		struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &run.senders[i]}};
		if (status == 0 &&
			epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, run.senders[i].fd, &event) != 0) {
			status = fail("epoll");
		}
	}
	run.begin_ns = run.now_ns = clock_monotonic_ns();
	run.measure_ns = run.begin_ns + load->warm_up_us * 1000;
	run.end_ns = run.measure_ns + load->duration_us * 1000;
	for (uint64_t i = 0; i < load->connections && status == 0; i++) {
		status = fill(&run, &run.senders[i]);
	}
	/* A client on a machine of its own would not wait for a processor: neither does the load.
	 */
	thread_set_slice(THREAD_SLICE_WRITER_NS);
	if (status == 0) {
		status = loop(&run);
	}
	thread_set_slice(0);
	uint64_t end_ns = load->events ? clock_monotonic_ns() : run.end_ns;
	bench_progress_end();
	ret->seconds = (double)(end_ns - run.measure_ns) / 1e9;
	ret->events = ret->requests * load->batch;
	ret->bytes = ret->events * load->options->event_bytes;
	release(&run);
	return status;
}
