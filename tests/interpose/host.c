/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A host without hooks. It accepts connections on the loopback interface with
 * functions that are replaced, and finds its GOT entries independently of the
 * library.
 *
 * BY_DLOPEN: the program is not linked with the library and loads it, as Kamailio
 * loads the library of a module. TAKES_ADDRESS: the program also calls functions
 * through pointers. ACCEPT4: it accepts with accept4(). */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

#ifdef BY_DLOPEN
#define FUNCTIONS(X)          \
	X(tcl_init)               \
	X(tcl_counter)            \
	X(tcl_stats)              \
	X(tcl_get)                \
	X(tcl_set_limit)          \
	X(tcl_interpose_find)     \
	X(tcl_interpose_attach)   \
	X(tcl_interpose_activate) \
	X(tcl_interpose_tls)      \
	X(tcl_token)              \
	X(tcl_interpose_detach)
#define DECLARE(name) static __typeof__(name) *name##_found;
#define FIND(name)                        \
	name##_found = dlsym(library, #name); \
	CHECK(name##_found != NULL);
FUNCTIONS(DECLARE)

static void find_library(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	if(library == NULL)
		fprintf(stderr, "%s\n", dlerror());
	CHECK(library != NULL);
	FUNCTIONS(FIND)
}

#define tcl_init tcl_init_found
/* The function, not the struct of this name. */
#define tcl_counter(index, to) tcl_counter_found(index, to)
#define tcl_stats tcl_stats_found
#define tcl_get tcl_get_found
#define tcl_set_limit tcl_set_limit_found
#define tcl_interpose_find tcl_interpose_find_found
#define tcl_interpose_attach tcl_interpose_attach_found
#define tcl_interpose_activate tcl_interpose_activate_found
#define tcl_interpose_tls tcl_interpose_tls_found
#define tcl_token tcl_token_found
#define tcl_interpose_detach tcl_interpose_detach_found
#else
static void find_library(const char *path)
{
	(void)path;
}
#endif

#include "counter.h"

#ifdef TAKES_ADDRESS
static int (*volatile close_it)(int);
static int (*volatile accept_it)(int, struct sockaddr *, socklen_t *);
#else
#define close_it close
#define accept_it accept
#endif

static int accept_one(int listener, struct sockaddr *address, socklen_t *length)
{
#ifdef ACCEPT4
	int fd = accept4(listener, address, length, SOCK_CLOEXEC);
	CHECK(fd < 0 || (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	return fd;
#else
	return accept_it(listener, address, length);
#endif
}

/* --- the entries, and how their pages are protected --- */

#define MAX_ENTRIES 16

static struct entries
{
	int count;
	uintptr_t *at[MAX_ENTRIES];
	uintptr_t content[MAX_ENTRIES];
	char protection[MAX_ENTRIES][5];
} at_first;

static void protection_of(uintptr_t *at, char *to)
{
	char line[512];
	uintptr_t start, end;
	FILE *maps = fopen("/proc/self/maps", "r");

	CHECK(maps != NULL);
	strcpy(to, "none");
	while(fgets(line, sizeof(line), maps) != NULL) {
		char protection[5];
		CHECK(sscanf(line, "%lx-%lx %4s", &start, &end, protection) == 3);
		if((uintptr_t)at >= start && (uintptr_t)at < end)
			strcpy(to, protection);
	}
	fclose(maps);
}

static void look_at_table(struct entries *entries, const ElfW(Rela) * table,
		size_t size, const ElfW(Sym) * symbols, const char *strings,
		uintptr_t base)
{
	size_t i;

	for(i = 0; i < size / sizeof(*table); i++) {
		const char *name =
				strings + symbols[ELF64_R_SYM(table[i].r_info)].st_name;
		uintptr_t *at = (uintptr_t *)(base + table[i].r_offset);
		if(strcmp(name, "accept") != 0 && strcmp(name, "accept4") != 0
				&& strcmp(name, "close") != 0)
			continue;
		CHECK(entries->count < MAX_ENTRIES);
		entries->at[entries->count] = at;
		entries->content[entries->count] = *at;
		protection_of(at, entries->protection[entries->count]);
		entries->count++;
	}
}

static int look_at_executable(struct dl_phdr_info *info, size_t size, void *to)
{
	const ElfW(Dyn) * entry;
	const ElfW(Sym) *symbols = NULL;
	const char *strings = NULL;
	const ElfW(Rela) *jumps = NULL, *others = NULL;
	size_t jumps_size = 0, others_size = 0;

	(void)size;
	for(entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
		switch(entry->d_tag) {
			case DT_SYMTAB:
				symbols = (void *)entry->d_un.d_ptr;
				break;
			case DT_STRTAB:
				strings = (void *)entry->d_un.d_ptr;
				break;
			case DT_JMPREL:
				jumps = (void *)entry->d_un.d_ptr;
				break;
			case DT_PLTRELSZ:
				jumps_size = entry->d_un.d_val;
				break;
			case DT_RELA:
				others = (void *)entry->d_un.d_ptr;
				break;
			case DT_RELASZ:
				others_size = entry->d_un.d_val;
				break;
		}
	}
	look_at_table(to, jumps, jumps_size, symbols, strings, info->dlpi_addr);
	look_at_table(to, others, others_size, symbols, strings, info->dlpi_addr);
	return 1;
}

static struct entries entries_now(void)
{
	struct entries entries;

	memset(&entries, 0, sizeof(entries));
	dl_iterate_phdr(look_at_executable, &entries);
	return entries;
}

static void entries_are_as_at_first(void)
{
	struct entries now = entries_now();
	CHECK(memcmp(&now, &at_first, sizeof(now)) == 0);
}

static void entries_are_changed(void)
{
	struct entries now = entries_now();
	int i;

	CHECK(now.count == at_first.count);
	for(i = 0; i < now.count; i++) {
		CHECK(now.content[i] != at_first.content[i]);
		CHECK(strcmp(now.protection[i], at_first.protection[i]) == 0);
	}
}

/* --- the limiter --- */

static void log_nothing(int32_t level, const char *text)
{
	fprintf(stderr, "log %d: %s\n", level, text);
	CHECK(!"nothing to log");
}

static const struct tcl_host functions = {
		.log = log_nothing, .now = host_now, .rejected = host_ignores_event};

static int count_of(int host)
{
	const uint8_t address[4] = {127, 0, 0, host};
	struct tcl_source source;

	CHECK(tcl_get(address, 4, -1, &source) == TCL_OK);
	return source.connections;
}

/* --- connections --- */

static int listener;
static struct sockaddr_in where;

/* A connected client at 127.0.0.HOST. Its descriptor is above those that accept()
 * returns, so it does not change which numbers accepted connections get. */
static int client(int host)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	int low = socket(AF_INET, SOCK_STREAM, 0);
	int fd = fcntl(low, F_DUPFD, 500);

	CHECK(low >= 0 && fd >= 0);
	syscall(SYS_close, low);
	from.sin_addr.s_addr = htonl(0x7f000000 + host);
	CHECK(bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0);
	CHECK(connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0);
	reset_at_close(fd);
	return fd;
}

/* Whether the other side has closed it. */
static int is_closed(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
	return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* Whether the other side has closed it or does so soon. */
static int closes(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLIN};

	CHECK(poll(&end, 1, 10000) >= 0);
	return is_closed(fd);
}

static void drop(int fd)
{
	CHECK(syscall(SYS_close, fd) == 0);
}

static int accepted(void)
{
	int fd = accept_one(listener, NULL, NULL);
	CHECK(fd >= 0);
	return fd;
}

static int nothing_accepted(void)
{
	errno = 0;
	return accept_one(listener, NULL, NULL) == -1 && errno == EAGAIN;
}

/* --- the tests: the limit is 3 --- */

static void in_a_child(void (*work)(int), int argument)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if(child == 0) {
		/* Only the parent has the alarm, so the child must end with it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(argument);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* From here on the system refuses to give pages this protection. */
static void not_allowed(int protection)
{
	struct sock_filter steps[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					offsetof(struct seccomp_data, args[2])),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, protection, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(steps) / sizeof(steps[0]), steps};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

static int is_read_only(const struct entries *entries)
{
	int i;

	for(i = 0; i < entries->count; i++) {
		if(entries->protection[i][1] == '-')
			return 1;
	}
	return 0;
}

/* A failed attachment changes no entry. */
static void child_must_not_protect(int protection)
{
	struct entries now;
	char error[300] = "";

	not_allowed(protection);
	CHECK(tcl_interpose_find(error, sizeof(error)) == TCL_OK);
	if(!is_read_only(&at_first)) {
		CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_OK);
		return;
	}
	CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_EINTERPOSE);
	CHECK(strstr(error, "cannot make a page") != NULL);
	CHECK(strstr(error, "Operation not permitted") != NULL);
	now = entries_now();
	CHECK(memcmp(now.content, at_first.content, sizeof(now.content)) == 0);
	/* An entry that cannot be made read-only again stays writable. */
	CHECK(is_read_only(&now) == ((protection & PROT_WRITE) != 0));
	CHECK(tcl_interpose_activate() == TCL_EINTERPOSE);
	CHECK(tcl_interpose_find(error, sizeof(error)) == TCL_OK);
}

static int close_of_another(int fd)
{
	return syscall(SYS_close, fd);
}

static void write_entry(int entry, uintptr_t content)
{
	size_t size = sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)at_first.at[entry] & -size);
	int sealed = at_first.protection[entry][1] == '-';

	if(sealed)
		CHECK(mprotect(page, size, PROT_READ | PROT_WRITE) == 0);
	*at_first.at[entry] = content;
	if(sealed)
		CHECK(mprotect(page, size, PROT_READ) == 0);
}

/* The entry of a later interposer is left alone. Once it has detached, so can we. */
static void child_is_not_the_last(int entry)
{
	const uintptr_t other = (uintptr_t)close_of_another;
	struct entries ours = entries_now(), now;
	int i;

	write_entry(entry, other);
	CHECK(tcl_interpose_detach() == TCL_EINTERPOSE);
	now = entries_now();
	for(i = 0; i < now.count; i++)
		CHECK(now.content[i] == (i == entry ? other : at_first.content[i]));
	CHECK(tcl_interpose_attach(NULL, 0) == TCL_EALREADY);
	write_entry(entry, ours.content[entry]);
	CHECK(tcl_interpose_detach() == TCL_OK);
	entries_are_as_at_first();
}

static void passes_on_until_activated(void)
{
	int fds[5], clients[5], i;

	for(i = 0; i < 5; i++) {
		clients[i] = client(2);
		fds[i] = accepted();
	}
	CHECK(counter("connections") == 0);
	for(i = 0; i < 5; i++) {
		CHECK(close_it(fds[i]) == 0);
		drop(clients[i]);
	}
	errno = 0;
	CHECK(close_it(-1) == -1 && errno == EBADF);
}

static void counts_and_rejects(void)
{
	int fds[3], clients[3], late, i;

	for(i = 0; i < 3; i++) {
		clients[i] = client(2);
		fds[i] = accepted();
		CHECK(count_of(2) == i + 1);
	}
	late = client(2);
	CHECK(nothing_accepted()); /* It does not wait. */
	CHECK(closes(late) && !is_closed(clients[0]));
	CHECK(counter("rejected") == 1 && counter("admitted") == 3);
	drop(late);
	/* Other sources are not affected. */
	late = client(3);
	i = accepted();
	CHECK(count_of(3) == 1);
	CHECK(close_it(i) == 0 && count_of(3) == 0);
	drop(late);
	/* A close makes room at once. A second close is not counted. */
	CHECK(close_it(fds[0]) == 0);
	CHECK(count_of(2) == 2);
	errno = 0;
	CHECK(close_it(fds[0]) == -1 && errno == EBADF);
	CHECK(count_of(2) == 2);
	drop(clients[0]);
	clients[0] = client(2);
	fds[0] = accepted();
	CHECK(count_of(2) == 3);
	for(i = 0; i < 3; i++) {
		drop(clients[i]);
		CHECK(close_it(fds[i]) == 0);
	}
	CHECK(counter("connections") == 0 && counter("errors") == 0);
}

/* The same call continues after a rejected connection, up to a maximum number. */
static void goes_on_after_rejections(void)
{
	struct sockaddr_storage from;
	struct sockaddr_in *from_in = (struct sockaddr_in *)&from;
	socklen_t length;
	uint64_t before;
	int fds[3], clients[24], i;

	for(i = 0; i < 3; i++) {
		clients[i] = client(2);
		fds[i] = accepted();
	}
	before = counter("rejected");
	/* After two rejected ones, an admitted one has the right address. */
	clients[3] = client(2);
	clients[4] = client(2);
	clients[5] = client(3);
	memset(&from, 0xaa, sizeof(from));
	length = sizeof(from);
	i = accept_one(listener, (struct sockaddr *)&from, &length);
	CHECK(i >= 0 && length == sizeof(*from_in));
	CHECK(from_in->sin_addr.s_addr == htonl(0x7f000003));
	CHECK(counter("rejected") == before + 2);
	CHECK(closes(clients[3]) && closes(clients[4]));
	CHECK(!is_closed(clients[5]));
	CHECK(close_it(i) == 0);
	for(i = 3; i < 6; i++)
		drop(clients[i]);
	/* With too little room the address is cut and the length is the true one. */
	clients[3] = client(3);
	memset(&from, 0xaa, sizeof(from));
	length = 4;
	i = accept_one(listener, (struct sockaddr *)&from, &length);
	CHECK(i >= 0 && length == sizeof(*from_in));
	CHECK(from_in->sin_family == AF_INET);
	CHECK(from_in->sin_addr.s_addr == 0xaaaaaaaa);
	CHECK(close_it(i) == 0);
	drop(clients[3]);
	/* In a flood, one call rejects at most sixteen. */
	for(i = 3; i < 23; i++)
		clients[i] = client(2);
	clients[23] = client(3);
	before = counter("rejected");
	CHECK(nothing_accepted());
	CHECK(counter("rejected") == before + 16);
	i = accepted();
	CHECK(counter("rejected") == before + 20 && count_of(3) == 1);
	CHECK(close_it(i) == 0);
	for(i = 3; i < 24; i++)
		drop(clients[i]);
	for(i = 0; i < 3; i++) {
		drop(clients[i]);
		CHECK(close_it(fds[i]) == 0);
	}
	CHECK(counter("connections") == 0 && counter("errors") == 0);
}

static void child_closes(int fd)
{
	CHECK(close_it(fd) == 0);
}

static void child_accepts(int fd)
{
	int i;

	(void)fd;
	for(i = 0; i < 5; i++)
		CHECK(close_it(accepted()) == 0);
}

static void child_detaches(int fd)
{
	(void)fd;
	CHECK(tcl_interpose_detach() == TCL_OK);
	entries_are_as_at_first();
}

/* Only one process counts. Another one cannot, and passes everything on. */
static void child_cannot_count(int fd)
{
	int one = client(4);

	CHECK(tcl_interpose_activate() == TCL_EALREADY);
	CHECK(close_it(fd) == 0);
	CHECK(close_it(accepted()) == 0);
	CHECK(count_of(2) == 1 && count_of(4) == 0);
	drop(one);
}

/* Any process can query the descriptors of the one that counts. */
static void child_asks(int fd)
{
	CHECK(tcl_token(fd) != 0);
	CHECK(tcl_token(listener) == 0);
	CHECK(tcl_token(-1) == 0 && tcl_token(INT_MAX) == 0);
}

static void only_one_process_counts(void)
{
	int fd, others[5], one = client(2), i, status;
	pid_t child;

	fd = accepted();
	in_a_child(child_closes, fd);
	in_a_child(child_detaches, fd);
	CHECK(count_of(2) == 1);
	entries_are_changed();
	/* A child that shares our memory does not count either. */
	child = vfork();
	if(child == 0) {
		close_it(fd);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(count_of(2) == 1);
	for(i = 0; i < 5; i++)
		others[i] = client(2);
	in_a_child(child_accepts, fd);
	CHECK(count_of(2) == 1);
	for(i = 0; i < 5; i++)
		drop(others[i]);
	in_a_child(child_cannot_count, fd);
	in_a_child(child_asks, fd);
	CHECK(count_of(2) == 1);
	drop(one);
	CHECK(close_it(fd) == 0 && count_of(2) == 0);
	CHECK(tcl_token(fd) == 0);
}

/* The limit of open files when the process begins to count. It is raised later. */
#define FILES_AT_FIRST 100

static void activate_with_few_files(void)
{
	struct rlimit limit;
	rlim_t later;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	later = limit.rlim_cur;
	CHECK(later > 600);
	limit.rlim_cur = FILES_AT_FIRST;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(tcl_interpose_activate() == TCL_OK);
	limit.rlim_cur = later;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void limits_with_more_files_later(void)
{
	int clients[4], fds[3], first, last, i;

	first = last = open("/dev/null", O_RDONLY);
	while(last < 2 * FILES_AT_FIRST)
		last = open("/dev/null", O_RDONLY);
	for(i = 0; i < 3; i++) {
		clients[i] = client(4);
		fds[i] = accepted();
		CHECK(fds[i] > FILES_AT_FIRST && count_of(4) == i + 1);
	}
	clients[3] = client(4);
	CHECK(nothing_accepted() && closes(clients[3]));
	drop(clients[3]);
	for(i = 0; i < 3; i++) {
		CHECK(close_it(fds[i]) == 0 && count_of(4) == 2 - i);
		drop(clients[i]);
	}
	for(i = first; i <= last; i++)
		drop(i);
	CHECK(counter("errors") == 0);
}

/* A connection is closed without the replaced close(). */
static void unseen_close_is_corrected_on_reuse(void)
{
	uint64_t errors = counter("errors");
	int clients[3], fds[3], i;

	for(i = 0; i < 3; i++) {
		clients[i] = client(2);
		fds[i] = accepted();
	}
	drop(fds[1]);
	CHECK(count_of(2) == 3); /* The close cannot be noticed yet. */
	drop(clients[1]);
	clients[1] = client(2);
	i = accepted();
	CHECK(i == fds[1] && count_of(2) == 3);
	CHECK(counter("descriptor_reused") == 1 && counter("errors") == errors + 1);
	for(i = 0; i < 3; i++) {
		drop(clients[i]);
		CHECK(close_it(fds[i]) == 0);
	}
	CHECK(counter("connections") == 0 && counter("stale_token") == 0);
}

/* Other files and sockets of other families are passed on. */
static void other_families(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t length = sizeof(in6);
	uint64_t admitted = counter("admitted");
	int pipes[2], local, near, far, i;

	CHECK(pipe(pipes) == 0);
	CHECK(close_it(pipes[0]) == 0 && close_it(pipes[1]) == 0);
	/* An abstract name. */
	snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "tcl-%d", getpid());
	local = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(local, (struct sockaddr *)&un, sizeof(un)) == 0);
	CHECK(listen(local, 8) == 0);
	for(i = 0; i < 5; i++) {
		near = socket(AF_UNIX, SOCK_STREAM, 0);
		CHECK(connect(near, (struct sockaddr *)&un, sizeof(un)) == 0);
		far = accept_one(local, NULL, NULL);
		CHECK(far >= 0);
		if(i % 2)
			CHECK(close_it(far) == 0);
	}
	CHECK(counter("connections") == 0 && counter("admitted") == admitted);
	/* An IPv4 peer of an IPv6 socket is an IPv4 source. */
	local = socket(AF_INET6, SOCK_STREAM, 0);
	if(local < 0 || bind(local, (struct sockaddr *)&in6, sizeof(in6)) != 0) {
		CHECK(errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
		return; /* The machine has no IPv6. */
	}
	CHECK(listen(local, 8) == 0);
	CHECK(getsockname(local, (struct sockaddr *)&in6, &length) == 0);
	in.sin_addr.s_addr = htonl(0x7f000007);
	near = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(near, (struct sockaddr *)&in, sizeof(in)) == 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = in6.sin6_port;
	CHECK(connect(near, (struct sockaddr *)&in, sizeof(in)) == 0);
	length = sizeof(in6);
	far = accept_one(local, (struct sockaddr *)&in6, &length);
	CHECK(far >= 0 && length == sizeof(in6) && in6.sin6_family == AF_INET6);
	CHECK(IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr));
	CHECK(count_of(7) == 1);
	CHECK(close_it(far) == 0 && count_of(7) == 0);
}

/* Compares random opens and closes with a separate count. */
static void many_at_random(int steps)
{
	enum
	{
		HOSTS = 8
	};
	struct
	{
		int client, fd;
	} open[HOSTS][3];
	int count[HOSTS] = {0}, step, host, which;
	uint64_t rejected = counter("rejected"), errors = counter("errors");

	srandom(1);
	for(step = 0; step < steps; step++) {
		host = random() % HOSTS;
		if(random() % 5 < 3) {
			int one = client(100 + host);
			if(count[host] == 3) {
				CHECK(nothing_accepted());
				rejected++;
				drop(one);
			} else {
				open[host][count[host]].client = one;
				open[host][count[host]++].fd = accepted();
			}
		} else if(count[host] > 0) {
			which = random() % count[host];
			CHECK(close_it(open[host][which].fd) == 0);
			drop(open[host][which].client);
			open[host][which] = open[host][--count[host]];
		}
		CHECK(count_of(100 + host) == count[host]);
	}
	CHECK(counter("rejected") == rejected && counter("errors") == errors);
	for(host = 0; host < HOSTS; host++) {
		while(count[host] > 0) {
			CHECK(close_it(open[host][--count[host]].fd) == 0);
			drop(open[host][count[host]].client);
		}
	}
	CHECK(counter("connections") == 0);
}

static void detach_releases_all_counts(void)
{
	uint64_t admitted;
	int fds[2], clients[2], i;

	for(i = 0; i < 2; i++) {
		clients[i] = client(2);
		fds[i] = accepted();
	}
	CHECK(count_of(2) == 2);
	CHECK(tcl_interpose_detach() == TCL_OK);
	entries_are_as_at_first();
	CHECK(counter("connections") == 0 && counter("stale_token") == 0);
	admitted = counter("admitted");
	for(i = 0; i < 2; i++) {
		CHECK(close_it(fds[i]) == 0);
		drop(clients[i]);
		clients[i] = client(2);
		fds[i] = accepted();
	}
	CHECK(counter("admitted") == admitted);
	for(i = 0; i < 2; i++) {
		CHECK(close_it(fds[i]) == 0);
		drop(clients[i]);
	}
}

int main(int argc, char **argv)
{
	struct tcl_config config = {.max_connections = 1000,
			.limit = 3,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64};
	char error[300] = "";

	CHECK(argc == 3);
	alarm(60); /* Ends a wait without end. */
	find_library(argv[1]);
	listener = loopback_listener(SOCK_STREAM, &where);
	CHECK(tcl_interpose_find(error, sizeof(error)) == TCL_OK);
	CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_interpose_activate() == TCL_EINIT);
	CHECK(tcl_init(&config, &functions, error, sizeof(error)) == TCL_OK);

	at_first = entries_now();
	CHECK(at_first.count >= 2);
	CHECK(tcl_interpose_detach() == TCL_OK);
	CHECK(tcl_interpose_activate() == TCL_EINTERPOSE);
	if(tcl_interpose_find(error, sizeof(error)) != TCL_OK)
		fprintf(stderr, "%s\n", error);
	CHECK(tcl_interpose_find(NULL, 0) == TCL_OK);
	entries_are_as_at_first();
	in_a_child(child_must_not_protect, PROT_READ | PROT_WRITE);
	in_a_child(child_must_not_protect, PROT_READ);
	if(tcl_interpose_attach(error, sizeof(error)) != TCL_OK)
		fprintf(stderr, "%s\n", error);
	entries_are_changed();
#ifdef TAKES_ADDRESS
	/* The program has the addresses from here on, and keeps them after the
	 * functions are restored. */
	close_it = close;
	accept_it = accept;
#endif
	CHECK(tcl_interpose_attach(NULL, 0) == TCL_EALREADY);
	CHECK(tcl_interpose_find(error, sizeof(error)) == TCL_EALREADY);
	CHECK(strstr(error, "already") != NULL);

	in_a_child(child_is_not_the_last, 0);
	in_a_child(child_is_not_the_last, at_first.count - 1);
	passes_on_until_activated();
	activate_with_few_files();
	CHECK(tcl_interpose_activate() == TCL_OK);
	counts_and_rejects();
	limits_with_more_files_later();
	goes_on_after_rejections();
	only_one_process_counts();
	unseen_close_is_corrected_on_reuse();
	other_families();
	many_at_random(atoi(argv[2]));
	entries_are_changed();
	detach_releases_all_counts();

	/* The same again, now that the dynamic linker has resolved the calls. */
	at_first = entries_now();
	CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_OK);
	passes_on_until_activated();
	CHECK(tcl_interpose_activate() == TCL_OK);
	many_at_random(100);
	CHECK(tcl_interpose_detach() == TCL_OK);
	entries_are_as_at_first();
	CHECK(tcl_interpose_detach() == TCL_OK);
	return 0;
}
