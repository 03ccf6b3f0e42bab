/*!
 * \file
 * \brief tcp_conn_limit :: the names of event routes and of the KEMI callback
 *
 * The core runs nothing, and reports nothing, if a route or function with the wanted name
 * does not exist. So the module looks for wrong names itself.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/kemi.h"
#include "../../core/mod_fix.h"
#include "../../core/route.h"
#include "../../core/sr_module.h"
#include "../../core/str_hash.h"

#include "tcm_events.h"

/* The core's parser allows no _ in the first word: it reads tcp_conn_limit:rejected as
 * limit:rejected, and reports nothing. */
static const char *const own_words[] = {
		"tcpconnlimit", "connlimit", "limit", NULL};

/* Does the name begin with the name of this module, in some spelling? */
static int is_own(const str *name)
{
	char word[16];
	int i, length = 0;

	for(i = 0; i < name->len && name->s[i] != ':'; i++) {
		if(name->s[i] == '-' || name->s[i] == '_')
			continue;
		if(length == sizeof(word) - 1)
			return 0;
		word[length++] = (char)tolower((unsigned char)name->s[i]);
	}
	word[length] = '\0';
	for(i = 0; own_words[i] != NULL; i++) {
		if(strcmp(word, own_words[i]) == 0)
			return 1;
	}
	return 0;
}

static int is_same(const str *a, const str *b)
{
	return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

static int is_known(const str *name, const str *const known[])
{
	int i;

	for(i = 0; known[i] != NULL; i++) {
		if(is_same(name, known[i]))
			return 1;
	}
	return 0;
}

/* The number of bytes of the event, after the first colon, that both names share. */
static int common_event(const str *a, const str *b)
{
	const char *x = memchr(a->s, ':', a->len), *y = memchr(b->s, ':', b->len);
	int n = 0;

	if(x == NULL || y == NULL)
		return 0;
	while(x + n < a->s + a->len && y + n < b->s + b->len && x[n] == y[n])
		n++;
	return n;
}

/* The known name whose event begins most like that of this one. */
static const str *likeliest(const str *name, const str *const known[])
{
	const str *found = known[0];
	int i, like, most = -1;

	for(i = 0; known[i] != NULL; i++) {
		like = common_event(name, known[i]);
		if(like > most) {
			most = like;
			found = known[i];
		}
	}
	return found;
}

int tcm_events_check_routes(const str *const known[])
{
	const str *meant;
	const struct str_hash_head *head;
	const struct str_hash_entry *entry;
	int i, ret = 0;

	for(i = 0; i < event_rt.names.size; i++) {
		head = &event_rt.names.table[i];
		for(entry = head->next; (const void *)entry != (const void *)head;
				entry = entry->next) {
			/* A name can be looked up without a route. */
			if(event_rt.rlist[entry->u.n] == NULL || !is_own(&entry->key)
					|| is_known(&entry->key, known))
				continue;
			meant = likeliest(&entry->key, known);
			LM_ERR("event_route[%.*s] never runs, the module has no such"
				   " event: write event_route[%.*s]\n",
					entry->key.len, entry->key.s, meant->len, meant->s);
			ret = -1;
		}
	}
	return ret;
}

/* An engine that can run a line of its language in the loaded script. */
struct language
{
	const char *engine;
	const char *function; /* of the native script */
	/* Writes a line that fails if there is no function of this name. Returns as
	 * snprintf(). */
	int (*write)(char *line, size_t size, const char *name);
};

static int write_lua(char *line, size_t size, const char *name)
{
	return snprintf(line, size,
			"if type(_G['%s']) ~= 'function' then"
			" error('event_callback: no function %s', 0) end",
			name, name);
}

static int write_javascript(char *line, size_t size, const char *name)
{
	return snprintf(line, size,
			"if (typeof this['%s'] !== 'function')"
			" throw new Error('event_callback: no function %s')",
			name, name);
}

/* clang-format off */
static const struct language languages[] = {
	{"lua", "lua_runstring", write_lua},
	{"jsdt", "jsdt_runstring", write_javascript},
	{NULL, NULL, NULL}
};
/* clang-format on */

/* Can the name stand between quotes? */
static int is_plain(const str *name)
{
	int i;

	for(i = 0; i < name->len; i++) {
		if(!isalnum((unsigned char)name->s[i]) && name->s[i] != '_')
			return 0;
	}
	return 1;
}

/* Returns 1 if there is such a function, 0 if not, -1 if that is unknown. */
static int ask_language(
		const struct language *language, sip_msg_t *msg, const char *name)
{
	char line[512];
	void *param = line;
	cmd_function run;
	int ret;

	run = find_export((char *)language->function, 1, 0);
	if(run == NULL
			|| language->write(line, sizeof(line), name) >= (int)sizeof(line)
			|| fixup_spve_null(&param, 1) != 0)
		return -1;
	ret = run(msg, param, NULL);
	fixup_free_spve_null(&param, 1);
	return ret > 0;
}

/* Python: the script's object has the functions as attributes. No exported function of
 * app_python3 can answer this, so its interpreter is asked. Returns as above. */
static int ask_python(const char *name)
{
	const sr_module_t *module = find_module_by_name("app_python3");
	void **handler;
	int (*lock)(void);
	void (*unlock)(int);
	int (*has_attribute)(void *, const char *);
	int state, ret;

	if(module == NULL)
		return -1;
	handler = dlsym(module->handle, "_sr_apy_handler_obj");
	*(void **)&lock = dlsym(module->handle, "PyGILState_Ensure");
	*(void **)&unlock = dlsym(module->handle, "PyGILState_Release");
	*(void **)&has_attribute = dlsym(module->handle, "PyObject_HasAttrString");
	if(handler == NULL || *handler == NULL || lock == NULL || unlock == NULL
			|| has_attribute == NULL)
		return -1;
	state = lock();
	ret = has_attribute(*handler, name);
	unlock(state);
	return ret;
}

static int ask(const char *engine, sip_msg_t *msg, const char *name)
{
	const struct language *language;

	if(strcmp(engine, "python") == 0)
		return ask_python(name);
	for(language = languages; language->engine != NULL; language++) {
		if(strcmp(engine, language->engine) == 0)
			return ask_language(language, msg, name);
	}
	return -1;
}

void tcm_events_check_callback(sip_msg_t *msg, const str *callback)
{
	const sr_kemi_eng_t *engine = sr_kemi_eng_get();
	char name[128];

	if(engine == NULL || callback->len >= (int)sizeof(name)
			|| !is_plain(callback))
		return;
	memcpy(name, callback->s, callback->len);
	name[callback->len] = '\0';
	if(ask(engine->ename.s, msg, name) == 0)
		LM_ERR("event_callback is \"%s\", but the KEMI script (%s) has no"
			   " function of this name, so nothing runs for events: correct"
			   " the modparam or the script\n",
				name, engine->ename.s);
}
