/*!
 * \file
 * \brief tcp_conn_limit :: messages between nodes, carried by the module dmq
 *
 * A node is called by its address in DMQ, such as sip:192.0.2.1:5060.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/parser/msg_parser.h"
#include "../../core/parser/parse_content.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/sr_module.h"
#include "../dmq/bind_dmq.h"

#include "tcm_cluster.h"
#include "tcm_dmq.h"

#include <tcp_conn_limit.h>

/* A UDP packet of Ethernet's size has room for this body besides the headers of DMQ, so it is
 * not fragmented. */
#define BODY_OF_UDP 1000
/* Half of the core's buffer for a message (tcp_rd_buf_size). */
#define BODY_OF_TCP 8000

static dmq_api_t dmq;
static dmq_peer_t *peer = NULL;
static str peer_name = str_init("tcp_conn_limit");
static str content_type = str_init("text/plain");
static str reason_ok = str_init("OK");

/* The nodes answer each other by messages of their own, so the responses of DMQ do not
 * matter. */
static int ignore_response(
		struct sip_msg *msg, int code, dmq_node_t *node, void *param)
{
	return 0;
}

static dmq_resp_cback_t on_response = {ignore_response, NULL};

int tcm_dmq_is_loaded(void)
{
	return find_export("bind_dmq", 0, 0) != NULL;
}

/* Runs in a worker of DMQ. */
static int receive(
		struct sip_msg *msg, peer_reponse_t *response, dmq_node_t *node)
{
	const struct receive_info *rcv = &msg->rcv;
	str body;

	/* To each message, so that the sender does not repeat it. */
	response->resp_code = 200;
	response->reason = reason_ok;
	if(msg->content_length == NULL)
		return 0;
	body.s = get_body(msg);
	if(body.s == NULL)
		return 0;
	body.len = (int)(msg->buf + msg->len - body.s);
	if(get_content_length(msg) < body.len)
		body.len = get_content_length(msg);
	if(body.len > 0)
		(void)tcm_cluster_pass_on(
				&body, (rcv->proto == PROTO_TCP || rcv->proto == PROTO_TLS)
							   ? &rcv->src_ip
							   : NULL);
	return 0;
}

int tcm_dmq_join(void)
{
	dmq_peer_t own;

	if(dmq_load_api(&dmq) < 0) {
		LM_ERR("cannot bind to the module dmq\n");
		return -1;
	}
	memset(&own, 0, sizeof(own));
	own.peer_id = peer_name;
	own.description = peer_name;
	own.callback = receive;
	peer = dmq.register_dmq_peer(&own);
	if(peer == NULL) {
		LM_ERR("cannot register with the module dmq\n");
		return -1;
	}
	return 0;
}

str tcm_dmq_own_address(void)
{
	str address = STR_NULL;
	modparam_t type;
	struct sr_module *module = find_module_by_name("dmq");
	const str *param = (module == NULL)
							   ? NULL
							   : find_param_export(module, "server_address",
									   PARAM_STR, &type);

	if(param != NULL && param->s != NULL)
		address = *param;
	return address;
}

uint32_t tcm_dmq_body_bytes(void)
{
	struct sip_uri uri;
	str address = tcm_dmq_own_address();

	if(address.len > 0 && parse_uri(address.s, address.len, &uri) == 0
			&& (uri.proto == PROTO_TCP || uri.proto == PROTO_TLS))
		return BODY_OF_TCP;
	return BODY_OF_UDP;
}

static int send_to(str *uri, str *body)
{
	dmq_node_t *node = dmq.find_dmq_node_uri(uri);

	if(node == NULL)
		return -1;
	return dmq.send_message(peer, body, node, &on_response, 1, &content_type);
}

/* DMQ stops at the first node to which it cannot send, for example because that refuses a
 * TCP connection. Then each node that is known gets the message by itself. A node that gets
 * it twice ignores the second one. */
static void send_to_each(str *body)
{
	static struct tcl_node nodes[TCL_MAX_NODES];
	int count = tcl_cluster_nodes(nodes, TCL_MAX_NODES);
	int i;

	for(i = 0; i < count; i++) {
		str uri = {nodes[i].name, strlen(nodes[i].name)};

		(void)send_to(&uri, body);
	}
}

void tcm_dmq_send(const char *node, const char *body, uint32_t length)
{
	str text = {(char *)body, (int)length};
	str uri = {(char *)node, 0};

	if(node != NULL) {
		uri.len = strlen(node);
		if(send_to(&uri, &text) == 0)
			return;
		/* DMQ does not have it under this name. All others ignore the message. */
	}
	if(dmq.bcast_message(peer, &text, NULL, &on_response, 1, &content_type) < 0)
		send_to_each(&text);
}
