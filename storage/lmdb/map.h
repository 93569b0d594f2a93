/*
 * Where LMDB's file and code lie in memory, for whoever handles the signals that damage under a
 * running store raises.
 */
#ifndef ANNALS_STORAGE_MAP_H
#define ANNALS_STORAGE_MAP_H

#include "env.h"

#include <annals/storage.h>

/* From /proc/self/maps (proc(5)). ANNALS_E_NOT_FOUND when it does not tell; *ret is zeroed then. */
int env_find_map(const struct env *env, struct store_map *ret) ANNALS_MUST_CHECK;

#endif
