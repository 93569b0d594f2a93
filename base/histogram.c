#include <annals/histogram.h>

#include <stdbool.h>

#define SUB_BITS 6
#define SUB_BUCKETS 64u

static unsigned bucket_of(uint64_t ns)
{
	unsigned exponent, index;

	if (ns < SUB_BUCKETS) {
		return (unsigned)ns;
	}
	exponent = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
	index = (exponent + 1) * SUB_BUCKETS + (unsigned)(ns >> exponent & (SUB_BUCKETS - 1));
	return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned exponent;

	if (bucket < SUB_BUCKETS) {
		return bucket;
	}
	exponent = bucket / SUB_BUCKETS - 1;
	return (((uint64_t)SUB_BUCKETS + bucket % SUB_BUCKETS + 1) << exponent) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram->counts[bucket_of(ns)]++;
	if (histogram->total == 0 || ns < histogram->min_ns) {
		histogram->min_ns = ns;
	}
	if (ns > histogram->max_ns) {
		histogram->max_ns = ns;
	}
	histogram->total++;
	histogram->sum_ns += ns;
}

void histogram_add_corrected(
	struct histogram *histogram, uint64_t ns, uint64_t expected_interval_ns)
{
	histogram_add(histogram, ns);
	if (expected_interval_ns == 0) {
		return;
	}
	while (ns > expected_interval_ns) {
		ns -= expected_interval_ns;
		histogram_add(histogram, ns);
	}
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	if (from->total == 0) {
		return;
	}
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		into->counts[i] += from->counts[i];
	}
	if (into->total == 0 || from->min_ns < into->min_ns) {
		into->min_ns = from->min_ns;
	}
	if (from->max_ns > into->max_ns) {
		into->max_ns = from->max_ns;
	}
	into->total += from->total;
	into->sum_ns += from->sum_ns;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	double wanted = percent / 100.0 * (double)histogram->total;
	uint64_t seen = 0;

	if (histogram->total == 0) {
		return 0;
	}
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen > 0 && (double)seen >= wanted) {
			uint64_t top = bucket_top(i);
			bool is_last = i == HISTOGRAM_BUCKETS - 1;
			return !is_last && top < histogram->max_ns ? top : histogram->max_ns;
		}
	}
	return histogram->max_ns;
}

double histogram_mean(const struct histogram *histogram)
{
	return histogram->total == 0 ? 0 : (double)histogram->sum_ns / (double)histogram->total;
}
