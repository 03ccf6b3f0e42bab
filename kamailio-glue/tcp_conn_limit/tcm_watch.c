/*!
 * \file
 * \brief tcp_conn_limit :: the watcher process
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/action.h"
#include "../../core/dprint.h"
#include "../../core/fmsg.h"
#include "../../core/kemi.h"
#include "../../core/pt.h"
#include "../../core/receive.h"
#include "../../core/resolve.h"
#include "../../core/route.h"
#include "../../core/sr_module.h"
#include "../../core/timer_proc.h"

#include "tcm_cfg.h"
#include "tcm_conn.h"
#include "tcm_events.h"
#include "tcm_watch.h"

#define INTERVAL 1 /* seconds, as tcl_watch() requires */

/* A kind of event, and what runs on it: a route of the native script, and the function of
 * the KEMI script that all kinds share. */
struct kind
{
	str name;
	int route; /* -1: no such route */
};

static struct kind kind_rejected = {str_init("tcp-conn-limit:rejected"), -1};
static struct kind kind_released = {str_init("tcp-conn-limit:released"), -1};
static struct kind kind_banned = {str_init("tcp-conn-limit:banned"), -1};
static struct kind kind_unbanned = {str_init("tcp-conn-limit:unbanned"), -1};
static struct kind kind_timed_out = {str_init("tcp-conn-limit:timed-out"), -1};
static struct kind kind_pressure = {str_init("tcp-conn-limit:pressure"), -1};
static str callback = STR_NULL;

static const struct tcl_event *current = NULL;
static const struct tcl_pressure *current_pressure = NULL;

const struct tcl_event *tcm_watch_event(void)
{
	return current;
}

const struct tcl_pressure *tcm_watch_pressure_event(void)
{
	return current_pressure;
}

/* The script is loaded when a process starts, so this is the first moment at which it
 * can be asked in this one. */
static void check_callback_once(void)
{
	static int checked = 0;

	if(checked || callback.len == 0)
		return;
	checked = 1;
	if(faked_msg_init() == 0)
		tcm_events_check_callback(faked_msg_next_clear(), &callback);
}

/* The core updates this process's cfg values before each call, see
 * fork_basic_timer(). */
static void tick(unsigned int ticks, void *param)
{
	check_callback_once();
	tcm_cfg_apply();
	if(tcl_watch(cfg_get(tcp_conn_limit, tcm_cfg, log_interval)) != TCL_OK)
		LM_ERR("cannot watch the table\n");
	if(tcl_expired() > 0)
		tcm_conn_close_expired();
}

static void run_scripts(struct kind *kind, sip_msg_t *msg)
{
	struct run_act_ctx context;
	sr_kemi_eng_t *engine;

	if(kind->route >= 0)
		run_top_route(event_rt.rlist[kind->route], msg, &context);
	if(callback.len > 0) {
		engine = sr_kemi_eng_get();
		init_run_actions_ctx(&context);
		if(sr_kemi_ctx_route(
				   engine, &context, msg, EVENT_ROUTE, &callback, &kind->name)
				< 0)
			LM_ERR("error in the function %.*s (event_callback) of the KEMI"
				   " script\n",
					callback.len, callback.s);
	}
}

/* The address of the event's source; without the prefix length if the source is a
 * prefix. Returns 0, or -1 if the core cannot read it. */
static int read_source(const struct tcl_event *event, struct ip_addr *ip)
{
	str text = {(char *)event->source, strcspn(event->source, "/")};
	struct ip_addr *read = str2ip(&text);

	if(read == NULL)
		read = str2ip6(&text);
	if(read == NULL)
		return -1;
	*ip = *read;
	return 0;
}

/* Runs the scripts for an event of a source, or for a change of the level of pressure,
 * then restores what they may have changed, so that each event starts from the same
 * state. */
static void run(struct kind *kind, const struct tcl_event *event,
		const struct tcl_pressure *pressure)
{
	sip_msg_t *msg;
	struct ip_addr source, source_before;
	/* Not route_type: the core's macros below access a global of that name. */
	int type_before;

	if(kind->route < 0 && callback.len == 0)
		return;
	if(faked_msg_init() < 0) {
		LM_ERR("cannot create a message to run the event route with\n");
		return;
	}
	msg = faked_msg_next_clear();
	/* So $si is the source of the event. The message is the core's, and other events of
	 * this process use it later. */
	source_before = msg->rcv.src_ip;
	if(event != NULL && read_source(event, &source) == 0)
		msg->rcv.src_ip = source;
	type_before = get_route_type();
	set_route_type(EVENT_ROUTE);
	current = event;
	current_pressure = pressure;
	run_scripts(kind, msg);
	current = NULL;
	current_pressure = NULL;
	set_route_type(type_before);
	msg->rcv.src_ip = source_before;
	ksr_msg_env_reset();
}

void tcm_watch_rejected(const struct tcl_event *event)
{
	run(&kind_rejected, event, NULL);
}

void tcm_watch_released(const struct tcl_event *event)
{
	run(&kind_released, event, NULL);
}

void tcm_watch_banned(const struct tcl_event *event)
{
	run(&kind_banned, event, NULL);
}

void tcm_watch_unbanned(const struct tcl_event *event)
{
	run(&kind_unbanned, event, NULL);
}

void tcm_watch_pressure(const struct tcl_pressure *event)
{
	run(&kind_pressure, NULL, event);
}

void tcm_watch_timed_out(const struct tcl_event *event)
{
	run(&kind_timed_out, event, NULL);
}

int tcm_watch_check(const str *event_callback)
{
	static const str *const known[] = {&kind_rejected.name, &kind_released.name,
			&kind_banned.name, &kind_unbanned.name, &kind_timed_out.name,
			&kind_pressure.name, NULL};

	if(tcm_events_check_routes(known) < 0)
		return -1;
	kind_rejected.route = route_lookup(&event_rt, kind_rejected.name.s);
	kind_released.route = route_lookup(&event_rt, kind_released.name.s);
	kind_banned.route = route_lookup(&event_rt, kind_banned.name.s);
	kind_unbanned.route = route_lookup(&event_rt, kind_unbanned.name.s);
	kind_timed_out.route = route_lookup(&event_rt, kind_timed_out.name.s);
	kind_pressure.route = route_lookup(&event_rt, kind_pressure.name.s);
	if(event_callback->len > 0 && sr_kemi_eng_get() == NULL) {
		LM_ERR("event_callback is \"%.*s\", but no KEMI script is loaded: set"
			   " cfgengine, or remove the modparam\n",
				event_callback->len, event_callback->s);
		return -1;
	}
	callback = *event_callback;
	return 0;
}

int tcm_watch_register(void)
{
	if(register_basic_timers(1) < 0) {
		LM_ERR("cannot register the watcher process\n");
		return -1;
	}
	return 0;
}

int tcm_watch_start(void)
{
	/* With a socket to TCP main, because the script may send messages. */
	if(fork_basic_timer(
			   PROC_TIMER, "tcp_conn_limit watcher", 1, tick, NULL, INTERVAL)
			< 0) {
		LM_ERR("cannot start the watcher process\n");
		return -1;
	}
	return 0;
}
