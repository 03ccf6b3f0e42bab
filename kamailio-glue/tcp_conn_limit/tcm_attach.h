/*!
 * \file
 * \brief tcp_conn_limit :: chooses the attachment
 *
 * With hooks, a patched core calls the module. With interpose, the module replaces
 * accept() and close() of an unpatched core.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_ATTACH_H
#define TCM_ATTACH_H

/* Requests an attachment by name, or "auto": 0, or -1 if the name is unknown. The
 * default is auto. */
int tcm_attach_request(const char *name);

/* Chooses the attachment. Returns 0, or -1 after logging an error. */
int tcm_attach_choose(void);

/* The attachment's name. Valid after tcm_attach_choose(). */
const char *tcm_attach_name(void);

/* Does the core call the module? */
int tcm_attach_by_hooks(void);

/* As in struct tcm_attachment. tcm_attach_end() undoes only what was done, so it may
 * also follow a failed start. */
int tcm_attach_begin(void);
int tcm_attach_listening(void);
int tcm_attach_in_tcp_main(void);
void tcm_attach_end(void);

#endif /* TCM_ATTACH_H */
