/*
 * A log-linear histogram of durations in nanoseconds: 64 sub-buckets for each power of two, so a
 * percentile is at most 1.6 % too high, from 1 ns to 2^40 ns (18 minutes; larger values count in
 * the last bucket). The idea is Gil Tene's HDR histogram; Debian 12 has no C package of it. One
 * writer; merge copies of per-thread ones. Zeroed memory is an empty histogram.
 */
#ifndef ANNALS_HISTOGRAM_H
#define ANNALS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS (35 * 64)

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t min_ns; /* meaningful when total > 0 */
};

void histogram_add(struct histogram *histogram, uint64_t ns);
/* Coordinated-omission correction: also counts the values that would have been seen every
 * expected_interval_ns during a stall of `ns`. */
void histogram_add_corrected(
	struct histogram *histogram, uint64_t ns, uint64_t expected_interval_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value below or at which `percent` (0 to 100) of the counts lie; 0 when empty; never above
 * max_ns. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram);

#endif
