/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks rules files without a server: tcp_conn_limit-check-rules [--list] FILE...
 * It uses the library of the module, which must lie next to it, and so the same parser.
 * Prints each invalid line, at most 20 of a file, and with --list each rule of a valid
 * file. Exits with 0 if all files are valid, 1 if not, 2 if it was called wrongly. */

#include <stdio.h>
#include <string.h>

#include <tcp_conn_limit.h>

#define GRAMMAR_SIZE 2048

static void print_fault(void *data, const char *line)
{
	(void)data;
	fprintf(stderr, "%s\n", line);
}

static void print_rule(void *data, const char *line)
{
	(void)data;
	puts(line);
}

static int check(const char *file, tcl_rule_line rule)
{
	uint32_t valid = 0;

	if(tcl_rules_check(NULL, 0, file, print_fault, rule, NULL, &valid)
			!= TCL_OK)
		return 1;
	/* Before the rules it would not be known yet. As a comment, the whole output is a
	 * rules file. */
	printf("%s%s: ok, %u rules\n", (rule != NULL) ? "# " : "", file, valid);
	return 0;
}

static void print_usage(FILE *to, const char *name)
{
	fprintf(to, "usage: %s [--list] FILE...\n", name);
}

static void print_help(const char *name)
{
	char grammar[GRAMMAR_SIZE] = "";

	print_usage(stdout, name);
	puts("Checks rules files as the module loads them. Prints each invalid "
		 "line,\n"
		 "and with --list each rule of a valid file, as it would be active.\n"
		 "\n"
		 "A line of the file is empty, a comment (#), or a rule:");
	tcl_rule_grammar(grammar, sizeof(grammar));
	puts(grammar);
}

int main(int argc, char **argv)
{
	tcl_rule_line rule = NULL;
	int first = 1;
	int ret = 0;
	int i;

	if(argc == 2 && strcmp(argv[1], "--help") == 0) {
		print_help(argv[0]);
		return 0;
	}
	if(argc > 1 && strcmp(argv[1], "--list") == 0) {
		rule = print_rule;
		first = 2;
	}
	if(first >= argc || argv[first][0] == '-') {
		print_usage(stderr, argv[0]);
		return 2;
	}
	for(i = first; i < argc; i++)
		ret |= check(argv[i], rule);
	return ret;
}
