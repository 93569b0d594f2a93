/* Text rules of CloudEvents shared by reading and writing. */
#ifndef ANNALS_SCHEMAS_CLOUDEVENTS_TEXT_H
#define ANNALS_SCHEMAS_CLOUDEVENTS_TEXT_H

#include <annals/bytes.h>
#include <annals/macros.h>

/*
 * Decodes the value of a ce- header into out, which has room for value.size bytes: quoted-string
 * first, then one round of percent-decoding. ANNALS_E_MALFORMED when an escape is cut or the result
 * is no UTF-8.
 */
int header_value_decode(struct bytes value, uint8_t *out, size_t *ret_size) ANNALS_MUST_CHECK;

/* Media types whose UTF-8 content is written as a JSON text rather than as base64. */
bool media_type_is_text(struct bytes content_type);

#endif
