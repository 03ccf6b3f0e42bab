/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks rules files without a server: tcp_conn_limit-check-rules FILE...
 * It uses the library of the module, which must lie next to it, and so the same parser.
 * Prints each invalid line, at most 20 of a file. Exits with 0 if all files are valid, 1
 * if not, 2 if it was called wrongly. */

#include <stdio.h>
#include <string.h>

#include <tcp_conn_limit.h>

static void print_fault(void *data, const char *line)
{
	(void)data;
	fprintf(stderr, "%s\n", line);
}

static int check(const char *file)
{
	uint32_t valid = 0;

	if(tcl_rules_check(NULL, 0, file, print_fault, NULL, &valid) != TCL_OK)
		return 1;
	printf("%s: ok, %u rules\n", file, valid);
	return 0;
}

int main(int argc, char **argv)
{
	int i;
	int ret = 0;

	if(argc < 2 || argv[1][0] == '-') {
		int help = argc == 2 && strcmp(argv[1], "--help") == 0;

		fprintf(help ? stdout : stderr, "usage: %s FILE...\n", argv[0]);
		return help ? 0 : 2;
	}
	for(i = 1; i < argc; i++)
		ret |= check(argv[i]);
	return ret;
}
