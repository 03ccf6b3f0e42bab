/*!
 * \file
 * \brief tcp_conn_limit :: one limit for several servers
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "tcm_cluster.h"
#include "tcm_dmq.h"

#include <tcp_conn_limit.h>

#define LIMIT_MAX 2147483647

/* As tcl_cluster_tick() requires, in milliseconds. */
#define TICK 100

/* Seconds until the process ends at the latest, once it was asked to. */
#define END_WITHIN 1

/* The kinds of datagrams to the process. */
#define MESSAGE 'm'
#define DROP 'd'
#define ADMIT 'a'

/* Larger than any message of DMQ, with what begins a datagram. */
#define DATAGRAM_SIZE (65536 + 64)

/* One more than the library accepts, so that it reports too many. */
#define KEYS_MAX 3
#define PATH_PREFIX "file:"

static int on = 0;
static int limit = 0;
static int interval = 1000;
static int strict = 0;
static int bans = 0;
static const char *keys[KEYS_MAX];
static uint32_t keys_count = 0;

/* Other processes write to the first one, the process reads from the second one. Datagrams
 * of this kind are limited by their size, and not by their number. */
static int ends[2] = {-1, -1};

static volatile sig_atomic_t is_ending = 0;

int tcm_cluster_request(const char *value)
{
	if(strcmp(value, "dmq") != 0)
		return -1;
	on = 1;
	return 0;
}

int tcm_cluster_is_on(void)
{
	return on;
}

int tcm_cluster_limit(void)
{
	return limit;
}

int tcm_cluster_set_limit(int value)
{
	if(value < 0) {
		LM_ERR("modparam cluster_limit is %d: expected 1 to %d, or 0 for no"
			   " limit\n",
				value, LIMIT_MAX);
		return -1;
	}
	limit = value;
	return 0;
}

int tcm_cluster_set_interval(int value)
{
	if(value < TCL_MIN_CLUSTER_INTERVAL || value > TCL_MAX_CLUSTER_INTERVAL) {
		LM_ERR("modparam cluster_interval is %d: expected %d to %d"
			   " milliseconds\n",
				value, TCL_MIN_CLUSTER_INTERVAL, TCL_MAX_CLUSTER_INTERVAL);
		return -1;
	}
	interval = value;
	return 0;
}

int tcm_cluster_set_strict(int value)
{
	if(value != 0 && value != 1) {
		LM_ERR("modparam cluster_strict is %d: expected 1 for yes or 0 for"
			   " no\n",
				value);
		return -1;
	}
	strict = value;
	return 0;
}

int tcm_cluster_set_bans(int value)
{
	if(value != 0 && value != 1) {
		LM_ERR("modparam cluster_bans is %d: expected 1 for yes or 0 for no\n",
				value);
		return -1;
	}
	bans = value;
	return 0;
}

/* Keeps a copy of the two texts as one key. */
static int add_key(const char *prefix, const char *value)
{
	size_t size = strlen(prefix) + strlen(value) + 1;
	char *key;

	if(keys_count == KEYS_MAX) {
		LM_ERR("modparam cluster_key: expected one key, or two while the key is"
			   " changed\n");
		return -1;
	}
	key = pkg_malloc(size);
	if(key == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	snprintf(key, size, "%s%s", prefix, value);
	keys[keys_count++] = key;
	return 0;
}

int tcm_cluster_add_key(const char *value)
{
	return add_key("", value);
}

int tcm_cluster_add_key_file(const char *value)
{
	return add_key(PATH_PREFIX, value);
}

int tcm_cluster_check(void)
{
	if(!on) {
		if(limit == 0 && !bans && keys_count == 0)
			return 0;
		LM_ERR("modparam %s is set, but this server is not a node of a"
			   " cluster: set the modparam cluster to \"dmq\", or remove it\n",
				(limit > 0) ? "cluster_limit"
				: bans		? "cluster_bans"
							: "cluster_key");
		return -1;
	}
	if(!tcm_dmq_is_loaded()) {
		LM_ERR("modparam cluster is \"dmq\", but the module dmq is not loaded:"
			   " load tm, sl and dmq\n");
		return -1;
	}
	return 0;
}

static int prepare(const str *own)
{
	char error[256] = "internal error", name[TCL_NODE_TEXT + 1];
	struct tcl_cluster_config config = {
			.node = name,
			.keys = keys,
			.key_count = keys_count,
			.interval_ms = interval,
			.strict = strict,
			.bans = bans,
			.body_bytes = tcm_dmq_body_bytes(),
			.send = tcm_dmq_send,
	};

	/* A name that is cut here is too long. */
	snprintf(name, sizeof(name), "%.*s", own->len, own->s);
	if(tcl_cluster_prepare(&config, error, sizeof(error)) == TCL_OK)
		return 0;
	LM_ERR("bad setting of the cluster: %s; correct the modparam\n", error);
	return -1;
}

int tcm_cluster_prepare(void)
{
	str own;

	if(!on)
		return 0;
	own = tcm_dmq_own_address();
	if(own.len == 0) {
		LM_ERR("modparam cluster is \"dmq\", but the modparam server_address of"
			   " dmq is not set\n");
		return -1;
	}
	if(prepare(&own) < 0)
		return -1;
	if(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		LM_ERR("cannot make a socket for messages of the cluster: %s\n",
				strerror(errno));
		return -1;
	}
	register_procs(1);
	cfg_register_child(1);
	return 0;
}

int tcm_cluster_join(void)
{
	return on ? tcm_dmq_join() : 0;
}

/* What begins a datagram. */
struct head
{
	char kind;
	uint8_t address_length;
	uint8_t address[16];
};

/* Returns 0, or -1 if there is no room. */
static int pass(struct head *head, const str *text)
{
	struct iovec parts[2] = {
			{.iov_base = head, .iov_len = sizeof(*head)},
			{.iov_base = text->s, .iov_len = text->len},
	};
	struct msghdr datagram = {.msg_iov = parts, .msg_iovlen = 2};

	if(sendmsg(ends[0], &datagram, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -1;
	return 0;
}

int tcm_cluster_pass_on(const str *body, const struct ip_addr *from)
{
	struct head head = {.kind = MESSAGE};

	if(from != NULL && from->len <= sizeof(head.address)) {
		head.address_length = (uint8_t)from->len;
		memcpy(head.address, from->u.addr, from->len);
	}
	if(pass(&head, body) == 0)
		return 0;
	tcl_cluster_not_passed_on();
	return -1;
}

int tcm_cluster_pass_drop(const str *node, int dropped)
{
	struct head head = {.kind = dropped ? DROP : ADMIT};

	return pass(&head, node);
}

static void act_on(const char *datagram, uint32_t length)
{
	const uint8_t *text = (const uint8_t *)datagram + sizeof(struct head);
	struct head head;

	if(length < sizeof(head)) {
		LM_BUG("short datagram\n");
		return;
	}
	memcpy(&head, datagram, sizeof(head));
	length -= sizeof(head);
	switch(head.kind) {
		case MESSAGE:
			(void)tcl_cluster_receive(
					text, length, head.address, head.address_length);
			break;
		case DROP:
		case ADMIT:
			(void)tcl_cluster_drop(text, length, head.kind == DROP);
			break;
		default:
			LM_BUG("unknown datagram\n");
	}
}

/* Takes what is there, but not more than fits before the next tick. */
static void take_datagrams(void)
{
	static char datagram[DATAGRAM_SIZE];
	ssize_t length;
	int i;

	for(i = 0; i < 256; i++) {
		length = recv(ends[1], datagram, sizeof(datagram), MSG_DONTWAIT);
		if(length <= 0)
			return;
		act_on(datagram, (uint32_t)length);
	}
}

static void end_process(int signal)
{
	is_ending = 1;
}

/* Sends the others that this node ends. Other processes end at the same moment, and may have
 * locked what is needed to send: then the signal ends this one. */
static void leave(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(END_WITHIN);
	(void)tcl_cluster_bye();
	_exit(0);
}

static void run(void)
{
	struct pollfd end = {.fd = ends[1], .events = POLLIN};

	signal(SIGTERM, end_process);
	while(!is_ending) {
		if(poll(&end, 1, TICK) > 0)
			take_datagrams();
		cfg_update();
		(void)tcl_cluster_tick();
	}
	leave();
}

int tcm_cluster_start(void)
{
	int pid;

	if(!on)
		return 0;
	/* With a socket to TCP main, because DMQ may send by TCP. */
	pid = fork_process(PROC_TIMER, "tcp_conn_limit cluster", 1);
	if(pid < 0) {
		LM_ERR("cannot start the process of the cluster\n");
		return -1;
	}
	if(pid == 0) {
		if(cfg_child_init() < 0)
			return -1;
		run();
	}
	return 0;
}
