/* Threads for reads that would wait for the disk. */
#include "completion.h"
#include "shard.h"
#include <annals/thread.h>

#include <stdlib.h>

int readers_run(struct shard *shard, struct store_request *request, bool may_block)
{
	switch (request->operation) {
	case STORE_READ:
		return log_read(shard, (struct read_request *)request, may_block);
	case STORE_STREAM_READ:
		return stream_read(shard, (struct stream_request *)request, may_block);
	case STORE_QUERY:
		return query_read(shard, (struct query_request *)request, may_block);
	default:
		return log_find_time(shard, (struct find_time_request *)request, may_block);
	}
}

static void *reader_main(void *arg)
{
	struct shard *shard = arg;
	struct reader_pool *pool = &shard->readers;
	struct store_request *request;
	thread_set_name("annals-reader");
	struct list_node *node;

	(void)pthread_mutex_lock(&pool->mutex);
	while (true) {
		node = list_pop(&pool->requests);
		if (node != NULL) {
			(void)pthread_mutex_unlock(&pool->mutex);
			request = LIST_ENTRY(node, struct store_request, node);
			(void)readers_run(shard, request, true);
			completion_push(request);
			(void)pthread_mutex_lock(&pool->mutex);
		} else if (pool->closing) {
			break;
		} else {
			(void)pthread_cond_wait(&pool->filled, &pool->mutex);
		}
	}
	(void)pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

int readers_start(struct shard *shard, struct error *err)
{
	struct reader_pool *pool = &shard->readers;
	uint32_t wanted = shard->options.reader_threads;

	pool->threads = calloc(wanted, sizeof(pthread_t));
	if (pool->threads == NULL) {
		return error_fail(err, ANNALS_E_NO_MEMORY, "no memory for reader threads");
	}
	while (pool->thread_count < wanted) {
		if (pthread_create(&pool->threads[pool->thread_count], NULL, reader_main, shard) !=
			0) {
			return error_fail(err, ANNALS_E_NO_MEMORY, "cannot start a reader thread");
		}
		pool->thread_count++;
	}
	return 0;
}

void readers_stop(struct shard *shard)
{
	struct reader_pool *pool = &shard->readers;

	(void)pthread_mutex_lock(&pool->mutex);
	pool->closing = true;
	(void)pthread_cond_broadcast(&pool->filled);
	(void)pthread_mutex_unlock(&pool->mutex);
	for (uint32_t i = 0; i < pool->thread_count; i++) {
		(void)pthread_join(pool->threads[i], NULL);
	}
	free(pool->threads);
	pool->threads = NULL;
	pool->thread_count = 0;
}

void readers_submit(struct shard *shard, struct store_request *request)
{
	struct reader_pool *pool = &shard->readers;

	shard->counters.cold_reads++;
	(void)pthread_mutex_lock(&pool->mutex);
	list_add_tail(&pool->requests, &request->node);
	(void)pthread_cond_signal(&pool->filled);
	(void)pthread_mutex_unlock(&pool->mutex);
}
