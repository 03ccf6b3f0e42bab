/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counters of the library by name. Needs host.h. */

/* The number of the counter. */
static inline uint32_t counter_number(const char *name)
{
	struct tcl_counter counter;
	uint32_t i = 0;
	do {
		CHECK(tcl_counter(i++, &counter) == TCL_OK);
	} while(strcmp(counter.name, name) != 0);
	return i - 1;
}

/* Its current value. */
static inline uint64_t counter(const char *name)
{
	uint64_t values[TCL_MAX_COUNTERS];
	uint32_t number = counter_number(name);
	CHECK(tcl_stats(values, TCL_MAX_COUNTERS) > (int32_t)number);
	return values[number];
}
