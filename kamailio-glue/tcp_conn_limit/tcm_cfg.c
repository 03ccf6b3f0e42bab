/*!
 * \file
 * \brief tcp_conn_limit :: settings that can be changed while the server runs
 *
 * The variables of the cfg framework are authoritative; the limiter follows them.
 * set_limit and set_mode change the variable and the limiter at once. A change through
 * the framework (cfg.set_now_int) only changes the variable. The watcher process
 * applies it in tcm_cfg_apply(), after the core has brought that process to the new
 * values. If two changes race and the limiter is left with the older one, the next
 * tick of the watcher corrects it.
 *
 * The rate is a text for operators, "10/s". The variable is a number of connections an
 * hour, because the core changes only numbers at once in all processes, and because that
 * is a whole number for each rate.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "../../core/cfg/cfg_ctx.h"
#include "../../core/dprint.h"

#include "tcm_cfg.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

#define LOG_INTERVAL_MIN 1
#define LOG_INTERVAL_MAX 86400

/* The highest rate, 10000/s, in connections an hour. */
#define RATE_MAX 36000000
#define BURST_MAX 1000000
#define US_OF_HOUR 3600000000U

struct cfg_group_tcp_conn_limit tcm_cfg_start = {
		.mode = TCL_MODE_ENFORCE,
		.log_interval = 60,
		.log_level = L_WARN,
};

void *tcm_cfg = &tcm_cfg_start;

/* All variables are CFG_ATOMIC. For any other variable the core keeps what it
 * allocates for a change until every process has seen the change, and some processes
 * never look. */
/* clang-format off */
static cfg_def_t definition[] = {
	{"limit", CFG_VAR_INT | CFG_ATOMIC, TCM_CFG_LIMIT_MIN, TCM_CFG_LIMIT_MAX,
		0, 0,
		"Connections that a source without a rule may have; 0 or -1: no limit"},
	{"mode", CFG_VAR_INT | CFG_ATOMIC, TCL_MODE_ENFORCE, TCL_MODE_OFF, 0, 0,
		"0: enforce, 1: monitor (rejects nothing; counts and logs what enforce"
		" would reject), 2: off"},
	{"rate", CFG_VAR_INT | CFG_ATOMIC, 0, RATE_MAX, 0, 0,
		"Connections that a source without a rule may open in an hour; 0: no"
		" rate"},
	{"burst", CFG_VAR_INT | CFG_ATOMIC, 0, BURST_MAX, 0, 0,
		"Connections of that rate that a quiet source may open at once; 0: those"
		" of one second, at least 5"},
	{"log_interval", CFG_VAR_INT | CFG_ATOMIC, LOG_INTERVAL_MIN,
		LOG_INTERVAL_MAX, 0, 0,
		"Minimum seconds between log lines about the same source"},
	{"log_level", CFG_VAR_INT | CFG_ATOMIC, L_MIN, L_MAX, 0, 0,
		"Log level of the lines about rejections"},
	{"untrusted_limit", CFG_VAR_INT | CFG_ATOMIC, 0, TCM_CFG_LIMIT_MAX, 0, 0,
		"Untrusted connections that a source without a rule may have; 0: no"
		" limit"},
	{"trust_timeout", CFG_VAR_INT | CFG_ATOMIC, 0, TCL_MAX_TRUST_TIMEOUT, 0, 0,
		"Seconds after which an untrusted connection is closed; 0: never"},
	{"network_limit", CFG_VAR_INT | CFG_ATOMIC, 0, TCM_CFG_LIMIT_MAX, 0, 0,
		"Connections that a network without a rule may have; 0: no limit"},
	{"network_rate", CFG_VAR_INT | CFG_ATOMIC, 0, RATE_MAX, 0, 0,
		"Connections that a network without a rule may open in an hour; 0: no"
		" rate"},
	{"network_burst", CFG_VAR_INT | CFG_ATOMIC, 0, BURST_MAX, 0, 0,
		"Connections of that rate that a quiet network may open at once; 0:"
		" those of one second, at least 5"},
	{0, 0, 0, 0, 0, 0, 0}
};
/* clang-format on */

static str group_name = str_init("tcp_conn_limit");
static str limit_name = str_init("limit");
static str mode_name = str_init("mode");
static str rate_name = str_init("rate");
static str burst_name = str_init("burst");
static str untrusted_limit_name = str_init("untrusted_limit");
static str trust_timeout_name = str_init("trust_timeout");
static str network_limit_name = str_init("network_limit");
static str network_rate_name = str_init("network_rate");
static str network_burst_name = str_init("network_burst");

static cfg_ctx_t *context = NULL;

static int set_limit(int limit)
{
	if(tcl_set_limit(limit) == TCL_OK)
		return 0;
	LM_ERR("cannot set the limit to %d\n", limit);
	return -1;
}

static int set_mode(int mode)
{
	if(tcl_set_mode(mode) == TCL_OK)
		return 0;
	LM_ERR("cannot set the mode to %d\n", mode);
	return -1;
}

/* What a log line says of the cause of a change that the watcher applies. */
#define BY_VARIABLE \
	"a cfg variable, which cfg.set_now_int or another process set"

static void log_limit(int was, int limit, const char *by)
{
	char before[TCM_TEXT_LIMIT_SIZE], now[TCM_TEXT_LIMIT_SIZE];

	if(was != limit)
		LM_NOTICE("limit changed from %s to %s by %s\n",
				tcm_text_limit(was, before), tcm_text_limit(limit, now), by);
}

static void log_mode(int was, int mode, const char *by)
{
	if(was != mode)
		LM_NOTICE("mode changed from %s to %s by %s\n", tcm_text_mode_name(was),
				tcm_text_mode_name(mode), by);
}

const char *tcm_cfg_rate_text(const struct tcl_rate *rate, char *text)
{
	if(rate->interval_us == 0)
		return "none";
	snprintf(text, TCM_CFG_RATE_SIZE, "%s, burst %u", rate->text, rate->burst);
	return text;
}

static int is_same_rate(const struct tcl_rate *a, const struct tcl_rate *b)
{
	return a->interval_us == b->interval_us
		   && (a->interval_us == 0 || a->burst == b->burst);
}

/* `of`: "" for sources, "network " for networks. */
static void log_rate(const char *of, const struct tcl_rate *was,
		const struct tcl_rate *rate, const char *by)
{
	char before[TCM_CFG_RATE_SIZE], now[TCM_CFG_RATE_SIZE];

	if(!is_same_rate(was, rate))
		LM_NOTICE("%srate changed from %s to %s by %s\n", of,
				tcm_cfg_rate_text(was, before), tcm_cfg_rate_text(rate, now),
				by);
}

/* Microseconds for each connection, rounded up, so that no source is faster. */
static uint32_t interval_of(int per_hour)
{
	return (per_hour <= 0) ? 0 : (US_OF_HOUR - 1) / (uint32_t)per_hour + 1;
}

/* The lowest number of connections an hour with this interval, so that interval_of()
 * gives the same interval again. */
static int per_hour_of(uint32_t interval_us)
{
	return (interval_us == 0) ? 0 : (int)((US_OF_HOUR - 1) / interval_us + 1);
}

/* A rate in the limiter, and the two variables that say it. */
struct rated
{
	const char *of; /* see log_rate() */
	int (*get)(struct tcl_rate *rate);
	int32_t (*set)(uint32_t interval_us, uint32_t burst, char *error,
			size_t error_size);
	str *rate_name;
	str *burst_name;
	/* The variables and the rate of the limiter when they were last applied. */
	int rate;
	int burst;
	struct tcl_rate applied;
};

static int get_rate(struct tcl_rate *rate)
{
	return tcl_rate(rate);
}

/* Returns TCL_EOFF if networks are not counted. */
static int get_network_rate(struct tcl_rate *rate)
{
	int32_t unused;

	return (tcl_network_settings(&unused, rate) == 1) ? TCL_OK : TCL_EOFF;
}

static struct rated sources = {.of = "",
		.get = get_rate,
		.set = tcl_set_rate,
		.rate_name = &rate_name,
		.burst_name = &burst_name,
		.rate = -1,
		.burst = -1};
static struct rated networks = {.of = "network ",
		.get = get_network_rate,
		.set = tcl_set_network_rate,
		.rate_name = &network_rate_name,
		.burst_name = &network_burst_name,
		.rate = -1,
		.burst = -1};

/* The limiter does not keep whether a burst is the default one. So this compares the
 * variables, and the limiter's rate, with what they were when they were last applied. */
static void apply_rate(struct rated *rated, int rate, int burst)
{
	struct tcl_rate was, now;
	char error[256] = "", text[TCM_CFG_RATE_SIZE];
	int ret;

	if(rated->get(&was) != TCL_OK)
		return;
	if(rated->rate == rate && rated->burst == burst
			&& is_same_rate(&was, &rated->applied))
		return;
	rated->rate = rate;
	rated->burst = burst;
	ret = rated->set(interval_of(rate), (uint32_t)burst, error, sizeof(error));
	if(rated->get(&now) != TCL_OK)
		return;
	rated->applied = now;
	if(ret == TCL_OK)
		log_rate(rated->of, &was, &now, BY_VARIABLE);
	else
		LM_ERR("cannot apply the cfg variables %s %d and %s %d: %s; until they"
			   " change the rate is %s\n",
				rated->rate_name->s, rate, rated->burst_name->s, burst, error,
				tcm_cfg_rate_text(&now, text));
}

static void log_untrusted_limit(int was, int limit, const char *by)
{
	char before[TCM_TEXT_LIMIT_SIZE], now[TCM_TEXT_LIMIT_SIZE];

	if(was != limit)
		LM_NOTICE("untrusted limit changed from %s to %s by %s\n",
				tcm_text_limit(was, before), tcm_text_limit(limit, now), by);
}

static void log_trust_timeout(int was, int seconds, const char *by)
{
	if(was != seconds)
		LM_NOTICE("trust_timeout changed from %d s to %d s by %s\n", was,
				seconds, by);
}

/* Without trust, the variables have no effect. That is said once for each change. */
static void apply_trust(void)
{
	static int limit = 0, timeout = 0;
	const int new_limit = cfg_get(tcp_conn_limit, tcm_cfg, untrusted_limit);
	const int new_timeout = cfg_get(tcp_conn_limit, tcm_cfg, trust_timeout);
	struct tcl_trust_settings was;

	if(tcl_trust_get(&was) != TCL_OK)
		return;
	if(!was.on) {
		if(limit != new_limit || timeout != new_timeout)
			LM_ERR("cannot apply the cfg variables untrusted_limit %d and"
				   " trust_timeout %d: " TCM_TRUST_OFF "\n",
					new_limit, new_timeout);
		limit = new_limit;
		timeout = new_timeout;
		return;
	}
	if(new_limit != was.untrusted_limit
			&& tcl_set_untrusted_limit(new_limit) == TCL_OK)
		log_untrusted_limit(was.untrusted_limit, new_limit, BY_VARIABLE);
	if(new_timeout != was.trust_timeout
			&& tcl_set_trust_timeout(new_timeout) == TCL_OK)
		log_trust_timeout(was.trust_timeout, new_timeout, BY_VARIABLE);
}

static void log_network_limit(int was, int limit, const char *by)
{
	char before[TCM_TEXT_LIMIT_SIZE], now[TCM_TEXT_LIMIT_SIZE];

	if(was != limit)
		LM_NOTICE("network limit changed from %s to %s by %s\n",
				tcm_text_limit(was, before), tcm_text_limit(limit, now), by);
}

/* If networks are not counted, the variables have no effect. That is said once for each
 * change. */
static void apply_networks(void)
{
	static int limit = 0, rate = 0, burst = 0;
	const int new_limit = cfg_get(tcp_conn_limit, tcm_cfg, network_limit);
	const int new_rate = cfg_get(tcp_conn_limit, tcm_cfg, network_rate);
	const int new_burst = cfg_get(tcp_conn_limit, tcm_cfg, network_burst);
	struct tcl_rate unused;
	int32_t was;

	if(tcl_network_settings(&was, &unused) == 1) {
		if(new_limit != was && tcl_set_network_limit(new_limit) == TCL_OK)
			log_network_limit(was, new_limit, BY_VARIABLE);
		apply_rate(&networks, new_rate, new_burst);
		return;
	}
	if(limit != new_limit || rate != new_rate || burst != new_burst)
		LM_ERR("cannot apply the cfg variables network_limit %d, network_rate"
			   " %d and network_burst %d: " TCM_NETWORKS_OFF "\n",
				new_limit, new_rate, new_burst);
	limit = new_limit;
	rate = new_rate;
	burst = new_burst;
}

/* Reads the limiter's values before the variables. A process that changes the limiter
 * has changed the variable before, so the value of the variable that is read
 * afterwards is not older than the limiter's. */
void tcm_cfg_apply(void)
{
	int32_t limit, mode;

	if(tcl_settings(&limit, &mode) != TCL_OK)
		return;
	if(cfg_get(tcp_conn_limit, tcm_cfg, limit) != limit
			&& set_limit(cfg_get(tcp_conn_limit, tcm_cfg, limit)) == 0)
		log_limit(limit, cfg_get(tcp_conn_limit, tcm_cfg, limit), BY_VARIABLE);
	if(cfg_get(tcp_conn_limit, tcm_cfg, mode) != mode
			&& set_mode(cfg_get(tcp_conn_limit, tcm_cfg, mode)) == 0)
		log_mode(mode, cfg_get(tcp_conn_limit, tcm_cfg, mode), BY_VARIABLE);
	apply_rate(&sources, cfg_get(tcp_conn_limit, tcm_cfg, rate),
			cfg_get(tcp_conn_limit, tcm_cfg, burst));
	apply_trust();
	apply_networks();
}

static int in_range(const char *name, int value, int min, int max)
{
	if(value >= min && value <= max)
		return 1;
	LM_ERR("bad setting: %s is %d: expected a number from %d to %d; correct"
		   " the modparam\n",
			name, value, min, max);
	return 0;
}

int tcm_cfg_check(void)
{
	if(in_range("log_interval", tcm_cfg_start.log_interval, LOG_INTERVAL_MIN,
			   LOG_INTERVAL_MAX)
			&& in_range("log_level", tcm_cfg_start.log_level, L_MIN, L_MAX))
		return 0;
	return -1;
}

int tcm_cfg_read_rates(void)
{
	struct tcl_rate rate;

	if(tcl_rate(&rate) != TCL_OK) {
		LM_ERR("cannot read the rate\n");
		return -1;
	}
	tcm_cfg_start.rate = per_hour_of(rate.interval_us);
	if(get_network_rate(&rate) == TCL_OK)
		tcm_cfg_start.network_rate = per_hour_of(rate.interval_us);
	return 0;
}

int tcm_cfg_declare(void)
{
	if(cfg_declare(group_name.s, definition, &tcm_cfg_start,
			   cfg_sizeof(tcp_conn_limit), &tcm_cfg)
					!= 0
			|| cfg_register_ctx(&context, NULL) != 0) {
		LM_ERR("cannot declare the configuration variables of the group %s\n",
				group_name.s);
		return -1;
	}
	return 0;
}

/* Changes the variable first, see tcm_cfg_apply(). */
int tcm_cfg_set_limit(int limit, int *was)
{
	int32_t limit_before, mode;

	if(tcl_settings(&limit_before, &mode) != TCL_OK
			|| cfg_set_now_int(context, &group_name, NULL, &limit_name, limit)
					   != 0
			|| set_limit(limit) < 0)
		return -1;
	log_limit(limit_before, limit, tcm_rpc_origin());
	*was = limit_before;
	return 0;
}

int tcm_cfg_set_mode(int mode, int *was)
{
	int32_t limit, mode_before;

	if(tcl_settings(&limit, &mode_before) != TCL_OK
			|| cfg_set_now_int(context, &group_name, NULL, &mode_name, mode)
					   != 0
			|| set_mode(mode) < 0)
		return -1;
	log_mode(mode_before, mode, tcm_rpc_origin());
	*was = mode_before;
	return 0;
}

static int set_variable(str *name, int value)
{
	return cfg_set_now_int(context, &group_name, NULL, name, value);
}

/* Sets variables and the rate of the limiter. The default burst fits every rate, so the
 * watcher never finds a pair of variables that it cannot apply. Returns 0, or -1. */
static int set_rate(struct rated *rated, uint32_t interval_us, int burst,
		struct tcl_rate *was, struct tcl_rate *now)
{
	char error[256] = "";

	if(rated->get(was) != TCL_OK || set_variable(rated->burst_name, 0) != 0
			|| set_variable(rated->rate_name, per_hour_of(interval_us)) != 0
			|| set_variable(rated->burst_name, burst) != 0)
		return -1;
	if(rated->set(interval_us, (uint32_t)burst, error, sizeof(error))
			!= TCL_OK) {
		LM_ERR("cannot set the %srate: %s\n", rated->of, error);
		return -1;
	}
	if(rated->get(now) != TCL_OK)
		return -1;
	log_rate(rated->of, was, now, tcm_rpc_origin());
	return 0;
}

int tcm_cfg_set_rate(uint32_t interval_us, int burst, struct tcl_rate *was,
		struct tcl_rate *now)
{
	return set_rate(&sources, interval_us, burst, was, now);
}

int tcm_cfg_set_network_limit(int limit, int *was)
{
	struct tcl_rate unused;
	int32_t before;

	if(tcl_network_settings(&before, &unused) != 1)
		return TCL_EOFF;
	if(set_variable(&network_limit_name, limit) != 0
			|| tcl_set_network_limit(limit) != TCL_OK)
		return TCL_EARG;
	log_network_limit(before, limit, tcm_rpc_origin());
	*was = before;
	return TCL_OK;
}

int tcm_cfg_set_network_rate(uint32_t interval_us, int burst,
		struct tcl_rate *was, struct tcl_rate *now)
{
	if(networks.get(was) != TCL_OK)
		return TCL_EOFF;
	return (set_rate(&networks, interval_us, burst, was, now) == 0) ? TCL_OK
																	: TCL_EARG;
}

/* Reads what is set. Returns TCL_OK, TCL_EOFF, or another code after logging an error. */
static int read_trust(struct tcl_trust_settings *settings)
{
	int ret = tcl_trust_get(settings);

	if(ret != TCL_OK)
		LM_ERR("cannot read the settings of trust\n");
	return (ret == TCL_OK && !settings->on) ? TCL_EOFF : ret;
}

int tcm_cfg_set_untrusted_limit(int limit, int *was)
{
	struct tcl_trust_settings before;
	int ret = read_trust(&before);

	if(ret != TCL_OK)
		return ret;
	if(set_variable(&untrusted_limit_name, limit) != 0)
		return TCL_EARG;
	ret = tcl_set_untrusted_limit(limit);
	if(ret == TCL_OK)
		log_untrusted_limit(before.untrusted_limit, limit, tcm_rpc_origin());
	*was = before.untrusted_limit;
	return ret;
}

int tcm_cfg_set_trust_timeout(int seconds, int *was)
{
	struct tcl_trust_settings before;
	int ret = read_trust(&before);

	if(ret != TCL_OK)
		return ret;
	if(set_variable(&trust_timeout_name, seconds) != 0)
		return TCL_EARG;
	ret = tcl_set_trust_timeout(seconds);
	if(ret == TCL_OK)
		log_trust_timeout(before.trust_timeout, seconds, tcm_rpc_origin());
	*was = before.trust_timeout;
	return ret;
}
