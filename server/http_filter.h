/* Which events of a topic a reader wants: a filter from query parameters. Loop thread only. */
#ifndef SERVER_HTTP_FILTER_H
#define SERVER_HTTP_FILTER_H

#include "proto_http.h"

#include <annals/filter.h>

/* Everything that is given must hold. Texts are in the request's. */
struct http_filter {
	struct event_filter terms;
	bool has_partition; /* ?partition=, or the only one where ?key= can be */
	uint32_t partition;
	struct buf link; /* the parameters again, "type=a&", for a link to the next page */
};

/* Zeroed memory is a filter that lets everything pass. */
void http_filter_release(struct http_filter *filter);
/*
 * Reads ?type=, ?typePrefix=, ?subject=, ?key=, ?tag= (repeated) and ?partition=, which the topic
 * must have. False: a problem was sent and the request is gone.
 */
bool http_filter_read(struct http_filter *filter, struct http_request *request,
	const struct topic *topic) ANNALS_MUST_CHECK;
/* The same without ?partition=, for what reads one partition. */
bool http_filter_read_terms(
	struct http_filter *filter, struct http_request *request) ANNALS_MUST_CHECK;

#endif
