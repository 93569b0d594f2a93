/* The routes of webhooks. Loop thread only. */
#ifndef SERVER_HTTP_WEBHOOKS_H
#define SERVER_HTTP_WEBHOOKS_H

#include "proto_http.h"

void http_list_webhooks(struct http_request *request);
void http_put_webhook(struct http_request *request);
void http_get_webhook(struct http_request *request);
void http_delete_webhook(struct http_request *request);
void http_post_webhook_resume(struct http_request *request);
void http_post_webhook_pause(struct http_request *request);
void http_post_webhook_test(struct http_request *request);

#endif
