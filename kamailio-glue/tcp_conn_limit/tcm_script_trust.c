/*!
 * \file
 * \brief tcp_conn_limit :: functions of scripts that trust connections
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tcm_cfg.h"
#include "tcm_conn.h"
#include "tcm_script.h"
#include "tcm_script_trust.h"

#include <tcp_conn_limit.h>

/* What the function of the script returns for a code of the library. */
static int result_of(int code)
{
	switch(code) {
		case TCL_OK:
			return TCM_SCRIPT_YES;
		case TCL_EOFF:
			tcm_script_report_invalid(TCM_TRUST_OFF);
			return TCM_SCRIPT_INVALID;
		default: /* closed, or not counted */
			return TCM_SCRIPT_NO;
	}
}

int tcm_script_ki_trust(sip_msg_t *msg)
{
	return result_of(tcl_trust(tcm_conn_token(msg)));
}

int tcm_script_ki_untrust(sip_msg_t *msg)
{
	return result_of(tcl_untrust(tcm_conn_token(msg)));
}

int tcm_script_trust(sip_msg_t *msg, char *unused, char *unused2)
{
	return tcm_script_ki_trust(msg);
}

int tcm_script_untrust(sip_msg_t *msg, char *unused, char *unused2)
{
	return tcm_script_ki_untrust(msg);
}
