/*!
 * \file
 * \brief tcp_conn_limit :: arguments of jsonrpcs that are neither text nor number
 *
 * The scan function of jsonrpcs reads true as the number 1, and false, null, an array and
 * an object as 0. It does not pass on their type, and what it has read cannot be read
 * again, so the type is read from its context.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif

#include <dlfcn.h>

#include "../../core/sr_module.h"
#include "../../core/utils/srjson.h"
#include "../jsonrpcs/jsonrpcs_mod.h"

#include "tcm_rpc_json.h"

/* The shared object that has this address; NULL if that is unknown. */
static const void *object_of(const void *address)
{
	Dl_info info;

	if(address == NULL || dladdr(address, &info) == 0)
		return NULL;
	return info.dli_fbase;
}

/* Is the request from jsonrpcs? Only then is its context a jsonrpc_ctx_t. The core loads
 * only modules of its own version and build, so the header that this module was built
 * with describes the context. */
static int is_jsonrpcs(const rpc_t *rpc)
{
	const sr_module_t *module = find_module_by_name("jsonrpcs");
	const void *object;

	if(module == NULL)
		return 0;
	/* Every module has this symbol. */
	object = object_of(dlsym(module->handle, "exports"));
	return object != NULL && object == object_of((const void *)rpc->scan);
}

const char *tcm_rpc_json_word(rpc_t *rpc, void *c)
{
	const jsonrpc_ctx_t *context = c;

	if(!is_jsonrpcs(rpc) || context->req_node == NULL)
		return NULL;
	switch(context->req_node->type) {
		case srjson_True:
			return "true";
		case srjson_False:
			return "false";
		case srjson_NULL:
			return "null";
		case srjson_Array:
			return "[...]";
		case srjson_Object:
			return "{...}";
		default:
			return NULL;
	}
}
