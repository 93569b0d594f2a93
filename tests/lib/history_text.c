#include "history_text.h"

#include <ctype.h>
#include <stdlib.h>

#define VALUES_MAX 32
#define PARTS_MAX 8

struct line {
	struct history_op op;
	struct history_part parts[PARTS_MAX];
	uint8_t values[PARTS_MAX][VALUES_MAX * 8];
};

static const char *const verbs[] = {"", "append", "read", "commit", "fetch", "deliver", "ack",
	"refuse", "park", "trim", "topic", "server"};

static bool number_word(const char *word, const char *name, uint64_t *ret)
{
	size_t size = strlen(name);

	if (strncmp(word, name, size) != 0 || !isdigit((unsigned char)word[size])) {
		return false;
	}
	*ret = strtoull(word + size, NULL, 10);
	return true;
}

static void add_value(struct history_part *part, uint8_t *values, uint64_t value)
{
	if (part->count == VALUES_MAX) {
		abort();
	}
	store_u64(values + (size_t)part->count++ * 8, value);
	part->values = values;
	part->mask |= HISTORY_PART_VALUES | HISTORY_PART_COUNT;
}

static bool part_word(struct history_part *part, uint8_t *values, const char *word)
{
	const struct {
		const char *name;
		uint32_t bit;
		uint64_t *target;
	} words[] = {{"@", HISTORY_PART_OFFSET, &part->offset},
		{"key", HISTORY_PART_STREAM, &part->stream},
		{"ver", HISTORY_PART_VERSION, &part->version},
		{"exp", HISTORY_PART_EXPECTED, &part->expected},
		{"start", HISTORY_PART_START, &part->start}, {"end", HISTORY_PART_END, &part->end},
		{"del", HISTORY_PART_DELIVERY, &part->delivery}};
	uint64_t value;

	for (size_t i = 0; i < ANNALS_COUNT_OF(words); i++) {
		if (number_word(word, words[i].name, words[i].target)) {
			part->mask |= words[i].bit;
			return true;
		}
	}
	if (number_word(word, "t", &value)) {
		part->topic = (uint32_t)value;
	} else if (number_word(word, "p", &value)) {
		part->partition = (uint32_t)value;
	} else if (number_word(word, "count", &value)) {
		part->count = (uint32_t)value;
		part->mask |= HISTORY_PART_COUNT;
	} else if (number_word(word, "", &value)) {
		add_value(part, values, value);
	} else if (number_word(word, "due", &value)) {
		part->start = value * 1000000;
		part->mask |= HISTORY_PART_START;
	} else if (strcmp(word, "exists") == 0) {
		part->mask |= HISTORY_PART_EXISTS;
	} else if (strcmp(word, "hole") == 0) {
		part->mask |= HISTORY_PART_HOLE;
	} else if (strcmp(word, "replayed") == 0) {
		part->mask |= HISTORY_PART_REPLAYED;
	} else {
		return false;
	}
	return true;
}

static bool op_word(struct history_op *op, const char *word)
{
	static const char *const outcomes[] = {"done", "conflict", "refused", "unknown"};
	static const struct {
		const char *word;
		uint32_t bit;
	} flags[] = {{"idem", HISTORY_OP_IDEMPOTENT}, {"os", HISTORY_OP_OS},
		{"reset", HISTORY_OP_RESET}, {"seek", HISTORY_OP_SEEK},
		{"back", HISTORY_OP_BACKWARD}, {"together", HISTORY_OP_TRANSACTION},
		{"later", HISTORY_OP_DELAYED}};
	uint64_t value;

	for (size_t i = 0; i < ANNALS_COUNT_OF(outcomes); i++) {
		if (strcmp(word, outcomes[i]) == 0) {
			op->outcome = (enum history_outcome)i;
			return true;
		}
	}
	for (size_t i = 0; i < ANNALS_COUNT_OF(flags); i++) {
		if (strcmp(word, flags[i].word) == 0) {
			op->mask |= flags[i].bit;
			return true;
		}
	}
	if (number_word(word, "#", &op->number)) {
		return true;
	}
	if (number_word(word, "try", &value)) {
		op->attempt = (uint32_t)value;
	} else if (number_word(word, "seq", &op->producer_sequence) ||
		   number_word(word, "epoch", &op->producer_epoch)) {
		op->producer_id = op->client;
		op->mask |= HISTORY_OP_PRODUCER;
	} else if (number_word(word, "group", &op->group) ||
		   number_word(word, "gen", &op->generation)) {
		op->mask |= HISTORY_OP_GROUP;
	} else {
		return false;
	}
	return true;
}

static void parse_line(struct line *line, char *text, unsigned number)
{
	static const char blanks[] = " \t";
	char *rest = NULL, *word = strtok_r(text, blanks, &rest);
	size_t part = 0;

	memset(line, 0, sizeof(*line));
	line->op = (struct history_op){.attempt = 1, .part_count = 1, .parts = line->parts};
	line->op.client = (uint32_t)strtoul(word, NULL, 10);
	word = strtok_r(NULL, blanks, &rest);
	line->op.invoke_ns = strtoull(word, &word, 10) * 1000000;
	line->op.return_ns = strtoull(word + 1, NULL, 10) * 1000000;
	word = strtok_r(NULL, blanks, &rest);
	for (unsigned i = 1; i < ANNALS_COUNT_OF(verbs); i++) {
		if (strcmp(word, verbs[i]) == 0) {
			line->op.kind = (enum history_kind)i;
		}
	}
	if (line->op.kind == HISTORY_APPEND) {
		line->op.number = number + 1000000;
	}
	if (line->op.kind == HISTORY_SERVER || line->op.kind == HISTORY_TOPIC) {
		line->op.text = bytes_text(rest);
		line->op.mask |= HISTORY_OP_TEXT;
		return;
	}
	while ((word = strtok_r(NULL, blanks, &rest)) != NULL) {
		if (strcmp(word, "|") == 0) {
			part++;
			line->parts[part].partition = line->parts[part - 1].partition;
			line->parts[part].topic = line->parts[part - 1].topic;
			line->op.part_count++;
		} else if (!op_word(&line->op, word) &&
			   !part_word(&line->parts[part], line->values[part], word)) {
			(void)fprintf(stderr, "no such word: '%s'\n", word);
			abort();
		}
	}
}

void history_from_text(const char *text, int fd)
{
	struct history_writer writer;
	struct line line;
	char *copy = strdup(text), *rest = NULL;
	unsigned number = 0;

	history_writer_init(&writer, fd);
	for (char *at = strtok_r(copy, "\n", &rest); at != NULL; at = strtok_r(NULL, "\n", &rest)) {
		parse_line(&line, at, ++number);
		if (line.op.kind == 0 || history_write(&writer, &line.op, NULL) != 0) {
			abort();
		}
	}
	if (history_flush(&writer, NULL) != 0) {
		abort();
	}
	history_writer_release(&writer);
	free(copy);
}

void history_judge_file(const char *path, struct checker_report *ret)
{
	struct checker *checker = checker_new();
	struct error err = {0};
	uint8_t *data = NULL;
	size_t size = 0;

	if (checker == NULL || history_load(path, &data, &size, &err) != 0 ||
		checker_add(checker, bytes_of(data, size), &err) != 0 ||
		checker_judge(checker, ret, &err) != 0) {
		(void)fprintf(stderr, "%s: %s\n", path, err.text);
		abort();
	}
	checker_free(checker);
	free(data);
}
