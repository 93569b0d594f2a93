#include "damage.h"
#include <annals/macros.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* Written before the signals can come, read by the handler. */
static struct store_map store_map;
static char what_to_do[4600];
static struct sigaction old_bus, old_fault;

/* The last words: only what a signal handler may call. */
static void say(const char *text)
{
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t n = write(STDERR_FILENO, text, left);
		if (n <= 0) {
			return;
		}
		text += n;
		left -= (size_t)n;
	}
}

static void say_number(uint64_t number)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;
	digits[at] = 0;
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	say(digits + at);
}

static uint64_t code_address(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uint64_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return context->uc_mcontext.pc;
#else
	(void)context;
	return 0;
#endif
}

static bool is_inside(uint64_t address, uint64_t from, uint64_t bytes)
{
	return address >= from && address - from < bytes;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	uint64_t address = (uint64_t)(uintptr_t)info->si_addr;
	bool in_file = is_inside(address, store_map.data, store_map.data_bytes);
	bool in_library = is_inside(
		code_address((const ucontext_t *)context), store_map.code, store_map.code_bytes);

	if (!in_file && !in_library) {
		/* Not ours: the access happens again and meets who was there before. */
		(void)sigaction(number, number == SIGBUS ? &old_bus : &old_fault, NULL);
		return;
	}
	say("annalsd: '");
	say(store_map.path);
	if (in_file) {
		say("' cannot be read at byte ");
		say_number(address - store_map.data);
		say(": it was cut short, its disk fails, or its structure is damaged");
	} else {
		say("' is damaged: its structure leads nowhere");
	}
	say(what_to_do);
	_exit(DAMAGE_STATUS);
}

void damage_stop(const char *what)
{
	say("annalsd: '");
	say(store_map.path);
	say("' is damaged: ");
	say(what);
	say(what_to_do);
	_exit(DAMAGE_STATUS);
}

void damage_watch(struct store *store, const char *data_dir)
{
	struct sigaction action;

	(void)snprintf(what_to_do, sizeof(what_to_do),
		". The server stops here. What was acknowledged is in the journal and in the "
		"intact "
		"part of this file: run 'annalsd verify %s' to see what is damaged, then put back "
		"a copy of the directory or rescue the rest with 'annalsd repair --salvage NEW_DIR "
		"%s'.\n",
		data_dir, data_dir);
	if (store_find_map(store, &store_map) != 0) {
		(void)snprintf(store_map.path, sizeof(store_map.path), "%s", data_dir);
	}
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO;
	(void)sigaction(SIGBUS, &action, &old_bus);
	(void)sigaction(SIGSEGV, &action, &old_fault);
}
