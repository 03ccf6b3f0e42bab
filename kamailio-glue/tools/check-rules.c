/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks rules files without a server:
 * tcp_conn_limit-check-rules [--nat64 PREFIX]... FILE...
 * It uses the library of the module, which must lie next to it, and so the same parser.
 * Each --nat64 is a modparam nat64_prefix of the server.
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

static const char *nat64[16];
static uint32_t nat64_count;

static int check(const char *file)
{
	uint32_t valid = 0;

	if(tcl_rules_check(
			   NULL, 0, file, nat64, nat64_count, print_fault, NULL, &valid)
			!= TCL_OK)
		return 1;
	printf("%s: ok, rules: %u\n", file, valid);
	return 0;
}

int main(int argc, char **argv)
{
	int i;
	int ret = 0;

	for(i = 1; i + 1 < argc && strcmp(argv[i], "--nat64") == 0; i += 2) {
		if(nat64_count == sizeof(nat64) / sizeof(nat64[0])) {
			fprintf(stderr, "%s: too many --nat64 options: at most 16\n",
					argv[0]);
			return 2;
		}
		nat64[nat64_count++] = argv[i + 1];
	}
	if(i == argc || argv[i][0] == '-') {
		int help = argc == 2 && strcmp(argv[1], "--help") == 0;

		fprintf(help ? stdout : stderr,
				"usage: %s [--nat64 PREFIX]... FILE...\n", argv[0]);
		return help ? 0 : 2;
	}
	for(; i < argc; i++)
		ret |= check(argv[i]);
	return ret;
}
