/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: attached to the hooks of a patched core
 */

#ifndef TCM_HOOKS_H
#define TCM_HOOKS_H

/* core-hooks.patch changes it. Of a header that is absent, as that below may be,
 * the compiler notes nothing for make; so this is what builds an object anew that
 * was built in the tree before it was patched. */
#include "../../core/tcp_conn.h"

#include "tcm_attachment.h"

/* a tree without the hooks gives a module that cannot use any */
#if defined(__has_include)
#if __has_include("../../core/tcp_conn_hooks.h")
#define TCM_WITH_HOOKS
#endif
#endif

extern const struct tcm_attachment tcm_hooks;

/* Does the running core have hooks that this module knows how to use? */
int tcm_hooks_present(void);

/* What is missing, if not. */
const char *tcm_hooks_missing(void);

#endif /* TCM_HOOKS_H */
