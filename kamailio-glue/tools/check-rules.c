/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks rules files without a server:
 * tcp_conn_limit-check-rules [--list] [--nat64 PREFIX]... FILE...
 * It uses the library of the module, which must lie next to it, and so the same parser.
 * Each --nat64 is a modparam nat64_prefix of the server. Prints each invalid line, at most
 * 20 of a file, and with --list each rule of a valid file. Exits with 0 if all files are
 * valid, 1 if not, 2 if it was called wrongly. */

#include <stdio.h>
#include <string.h>

#include <tcp_conn_limit.h>

#define GRAMMAR_SIZE 2048
#define NAT64_MAX 16

struct options
{
	const char *nat64[NAT64_MAX];
	uint32_t nat64_count;
	/* Prints a rule; NULL: rules are not printed. */
	tcl_rule_line rule;
	int help;
	/* The index of the first file. */
	int files;
};

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

static int check(const char *file, const struct options *options)
{
	uint32_t valid = 0;

	if(tcl_rules_check(NULL, 0, file, options->nat64, options->nat64_count,
			   print_fault, options->rule, NULL, &valid)
			!= TCL_OK)
		return 1;
	/* Before the rules it would not be known yet. As a comment, the whole output is a
	 * rules file. */
	printf("%s%s: ok, rules: %u\n", (options->rule != NULL) ? "# " : "", file,
			valid);
	return 0;
}

static void print_usage(FILE *to, const char *name)
{
	fprintf(to, "usage: %s [--list] [--nat64 PREFIX]... FILE...\n", name);
}

static void print_help(const char *name)
{
	char grammar[GRAMMAR_SIZE] = "";

	print_usage(stdout, name);
	puts("Checks rules files as the module loads them. Prints each invalid "
		 "line,\n"
		 "and with --list each rule of a valid file, as it would be active.\n"
		 "Each --nat64 is a modparam nat64_prefix of the server.\n"
		 "\n"
		 "A line of the file is empty, a comment (#), or a rule:");
	tcl_rule_grammar(grammar, sizeof(grammar));
	puts(grammar);
}

/* Reads the options, which come before the files. Returns 0, or -1 if one is unknown, has
 * no value or occurs too often. */
static int read_options(int argc, char **argv, struct options *options)
{
	int i;

	for(i = 1; i < argc && argv[i][0] == '-'; i++) {
		if(strcmp(argv[i], "--help") == 0) {
			options->help = 1;
		} else if(strcmp(argv[i], "--list") == 0) {
			options->rule = print_rule;
		} else if(strcmp(argv[i], "--nat64") != 0 || i + 1 == argc) {
			return -1;
		} else if(options->nat64_count == NAT64_MAX) {
			fprintf(stderr, "%s: too many --nat64 options: at most %d\n",
					argv[0], NAT64_MAX);
			return -1;
		} else {
			options->nat64[options->nat64_count++] = argv[++i];
		}
	}
	options->files = i;
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = {.nat64_count = 0};
	int ret = 0;
	int i;

	if(read_options(argc, argv, &options) < 0
			|| (options.files == argc && !options.help)) {
		print_usage(stderr, argv[0]);
		return 2;
	}
	if(options.help) {
		print_help(argv[0]);
		return 0;
	}
	for(i = options.files; i < argc; i++)
		ret |= check(argv[i], &options);
	return ret;
}
