/* The layer's public header: what is on the wire and on the disk, without I/O. */
#ifndef ANNALS_SCHEMAS_H
#define ANNALS_SCHEMAS_H

#include <annals/batch.h>
#include <annals/block.h>
#include <annals/column.h>
#include <annals/frame.h>
#include <annals/names.h>
#include <annals/record.h>
#include <annals/unpack.h>
#include <annals/wire.h>

#endif
