/*!
 * \file
 * \brief tcp_conn_limit :: the user that the server will run as
 *
 * The core starts as root and changes its user (options -u and -g) after the modules are
 * initialised. So a file that is read at the start may be unreadable later.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/mem/mem.h"

#include "tcm_identity.h"

/* Returns 0, or the error. */
static int read_error(const char *file)
{
	/* Opening a FIFO for reading would wait for its other end. */
	int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if(fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* As read_error(), with the ids that the core sets in do_suid(). setfsuid() changes the
 * ids for access to files only, and takes the capabilities of root in this respect;
 * setting them back restores both. */
static int read_error_as(const struct passwd *account, const char *file)
{
	int groups = getgroups(0, NULL);
	gid_t *before = pkg_malloc((groups + 1) * sizeof(*before));
	int error;

	if(before == NULL) {
		PKG_MEM_ERROR;
		return 0;
	}
	groups = getgroups(groups, before);
	if(groups < 0 || initgroups(account->pw_name, account->pw_gid) < 0) {
		LM_WARN("cannot check whether user %s can read %s: %s\n",
				account->pw_name, file, strerror(errno));
		pkg_free(before);
		return 0;
	}
	(void)setfsgid((gid != 0) ? gid : getegid());
	(void)setfsuid(uid);
	error = read_error(file);
	(void)setfsuid(geteuid());
	(void)setfsgid(getegid());
	if(setgroups(groups, before) < 0)
		LM_ERR("cannot restore the supplementary groups: %s\n",
				strerror(errno));
	pkg_free(before);
	return error;
}

void tcm_identity_check_file(const char *file)
{
	const struct passwd *account;
	int error;

	/* Only root can change its user. */
	if(file == NULL || geteuid() != 0 || uid == 0 || read_error(file) != 0)
		return;
	account = getpwuid(uid);
	if(account == NULL)
		return;
	error = read_error_as(account, file);
	if(error != 0)
		LM_WARN("the rules file %s is readable for root only, but"
				" tcp_conn_limit.reload reads it as user %s and will fail (%s):"
				" give it to the group of this user and make it readable for"
				" the group (chgrp, chmod g+r)\n",
				file, account->pw_name, strerror(error));
}
