/*!
 * \file
 * \brief tcp_conn_limit :: the attachment to the hooks of a patched core
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_HOOKS_H
#define TCM_HOOKS_H

/* core-hooks.patch changes tcp_conn.h, so make rebuilds an object that was built before
 * the tree was patched. tcp_conn_hooks.h cannot cause that: the compiler records no
 * dependency on a header that is absent. */
#include "../../core/tcp_conn.h"

#include "tcm_attachment.h"

/* A module built for a tree without hooks cannot use hooks. */
#if defined(__has_include)
#if __has_include("../../core/tcp_conn_hooks.h")
#define TCM_WITH_HOOKS
#endif
#endif

extern const struct tcm_attachment tcm_hooks;

/* Does the running core have hooks, and was the module built to use hooks? The hooks
 * may still have another ABI. */
int tcm_hooks_present(void);

/* If not, says what is missing. */
const char *tcm_hooks_missing(void);

#endif /* TCM_HOOKS_H */
