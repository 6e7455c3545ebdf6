#include "archive.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// MARK: - Deflate (RFC 1951)

typedef struct packed {
  const unsigned char *next, *end;
  // Bits that were taken from the bytes and not yet used, the next one lowest.
  uint64_t bits;
  int bit_count;
  int failed;
} packed;

static unsigned take(packed *in, int count) {
  while (in->bit_count < count) {
    if (in->next == in->end) {
      in->failed = 1;
      return 0;
    }
    in->bits |= (uint64_t)*in->next++ << in->bit_count;
    in->bit_count += 8;
  }
  const unsigned value = (unsigned)(in->bits & ((UINT64_C(1) << count) - 1));
  in->bits >>= count;
  in->bit_count -= count;
  return value;
}

enum { longest_code = 15, most_symbols = 288 };

// A Huffman code: codes of one length are consecutive numbers.
typedef struct book {
  int first[longest_code + 1];  // code
  int count[longest_code + 1];  // codes
  int place[longest_code + 1];  // of the first one's symbol
  int symbols[most_symbols];    // in the order of their codes
} book;

// False if there are more codes than bits allow.
static int make_book(book *book, const unsigned char *lengths, int count) {
  memset(book, 0, sizeof *book);
  for (int i = 0; i < count; i++) book->count[lengths[i]]++;
  book->count[0] = 0;
  int code = 0, place = 0;
  for (int length = 1; length <= longest_code; length++) {
    code = (code + book->count[length - 1]) * 2;
    book->first[length] = code;
    book->place[length] = place;
    place += book->count[length];
    if (code + book->count[length] > 1 << length) return 0;
  }
  int next[longest_code + 1];
  memcpy(next, book->place, sizeof next);
  for (int i = 0; i < count; i++) {
    if (lengths[i]) book->symbols[next[lengths[i]]++] = i;
  }
  return 1;
}

static int symbol(packed *in, const book *book) {
  int code = 0;
  for (int length = 1; length <= longest_code && !in->failed; length++) {
    code = code * 2 + (int)take(in, 1);
    const int index = code - book->first[length];
    if (index >= 0 && index < book->count[length]) return book->symbols[book->place[length] + index];
  }
  in->failed = 1;
  return 0;
}

// The two codes that stand before the data of a block.
static int read_books(packed *in, book *literals, book *distances) {
  static const unsigned char order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  const int literal_count = (int)take(in, 5) + 257, distance_count = (int)take(in, 5) + 1;
  const int order_count = (int)take(in, 4) + 4;
  if (literal_count > most_symbols) return 0;
  unsigned char lengths[most_symbols + 32] = {0};
  for (int i = 0; i < order_count; i++) lengths[order[i]] = (unsigned char)take(in, 3);
  book book;
  if (!make_book(&book, lengths, 19)) return 0;
  memset(lengths, 0, sizeof lengths);
  for (int i = 0; i < literal_count + distance_count && !in->failed;) {
    const int word = symbol(in, &book);
    if (word < 16) {
      lengths[i++] = (unsigned char)word;
      continue;
    }
    if (word == 16 && i == 0) return 0;
    const unsigned char value = word == 16 ? lengths[i - 1] : 0;
    int repeats = word == 16 ? 3 + (int)take(in, 2) : word == 17 ? 3 + (int)take(in, 3) : 11 + (int)take(in, 7);
    if (i + repeats > literal_count + distance_count) return 0;
    while (repeats-- > 0) lengths[i++] = value;
  }
  return !in->failed && make_book(literals, lengths, literal_count) &&
         make_book(distances, lengths + literal_count, distance_count);
}

static void fixed_books(book *literals, book *distances) {
  unsigned char lengths[most_symbols];
  for (int i = 0; i < most_symbols; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  make_book(literals, lengths, most_symbols);
  memset(lengths, 5, 30);
  make_book(distances, lengths, 30);
}

// Unpacks exactly `size` bytes.
static int unpack(const unsigned char *bytes, size_t count, unsigned char *to, size_t size) {
  static const unsigned short length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                               31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  static const unsigned char length_bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                              2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  static const unsigned short distance_base[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                                 33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                                 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
  packed in = {.next = bytes, .end = bytes + count};
  size_t done = 0;
  for (int is_last = 0; !is_last && !in.failed;) {
    is_last = (int)take(&in, 1);
    const unsigned kind = take(&in, 2);
    if (kind == 0) {
      // Stored; whole bytes that were taken for bits are not used up.
      take(&in, in.bit_count % 8);
      const size_t length = take(&in, 16);
      if ((take(&in, 16) ^ 0xFFFF) != length || length > size - done) return 0;
      for (size_t i = 0; i < length; i++) to[done++] = (unsigned char)take(&in, 8);
      continue;
    }
    book literals, distances;
    if (kind == 1) {
      fixed_books(&literals, &distances);
    } else if (kind == 3 || !read_books(&in, &literals, &distances)) {
      return 0;
    }
    while (!in.failed) {
      const int word = symbol(&in, &literals);
      if (word == 256) break;
      if (word < 256) {
        if (done == size || in.failed) return 0;
        to[done++] = (unsigned char)word;
        continue;
      }
      if (word > 285) return 0;
      size_t length = length_base[word - 257] + take(&in, length_bits[word - 257]);
      const int far = symbol(&in, &distances);
      if (far > 29) return 0;
      const size_t distance = distance_base[far] + take(&in, far < 4 ? 0 : far / 2 - 1);
      if (in.failed || distance > done || length > size - done) return 0;
      for (; length > 0; length--, done++) to[done] = to[done - distance];
    }
  }
  return !in.failed && done == size;
}

// MARK: - ZIP

static unsigned number(const unsigned char *at, int bytes) {
  unsigned value = 0;
  for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
  return value;
}

static uint32_t checksum(const unsigned char *bytes, size_t count) {
  uint32_t table[16];
  for (uint32_t i = 0; i < 16; i++) {
    table[i] = i;
    for (int k = 0; k < 4; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
  }
  uint32_t sum = ~0u;
  for (size_t i = 0; i < count; i++) {
    sum ^= bytes[i];
    sum = sum >> 4 ^ table[sum & 15];
    sum = sum >> 4 ^ table[sum & 15];
  }
  return ~sum;
}

typedef struct buffer {
  unsigned char *bytes;
  size_t count, room;
  int failed;
} buffer;

static void put(buffer *out, const void *bytes, size_t count) {
  if (out->failed) return;
  if (out->room - out->count < count) {
    const size_t room = 2 * out->room + count;
    unsigned char *more = realloc(out->bytes, room);
    if (!more) {
      out->failed = 1;
      return;
    }
    out->bytes = more;
    out->room = room;
  }
  if (count > 0) memcpy(out->bytes + out->count, bytes, count);
  out->count += count;
}

static void put_number(buffer *out, size_t value, int bytes) {
  unsigned char text[4];
  for (int i = 0; i < bytes; i++) text[i] = (unsigned char)(value >> 8 * i);
  put(out, text, (size_t)bytes);
}

enum { end_size = 22, record_size = 46, header_size = 30, name_size = 4096 };

// What a local header and a record of the list have in common.
static void put_common(buffer *out, unsigned flags, uint32_t sum, size_t size, size_t name_length) {
  put_number(out, 20, 2);  // version 2.0 reads it
  put_number(out, flags & 0x800, 2);  // whether names are UTF-8
  put_number(out, 0, 2);  // stored
  put_number(out, 0x00210000, 4);  // the first of January 1980
  put_number(out, sum, 4);
  put_number(out, size, 4);
  put_number(out, size, 4);
  put_number(out, name_length, 2);
  put_number(out, 0, 2);
}

// The contents of a file; a new buffer. Its record lies within the archive.
static unsigned char *contents(
    const unsigned char *bytes, size_t count, const unsigned char *record, size_t *size) {
  const unsigned method = number(record + 10, 2);
  const size_t packed_size = number(record + 20, 4), place = number(record + 42, 4);
  *size = number(record + 24, 4);
  if (number(record + 8, 2) & 1 || place > count || count - place < header_size) return NULL;
  const unsigned char *header = bytes + place;
  if (memcmp(header, "PK\3\4", 4) != 0) return NULL;
  const size_t skipped = header_size + number(header + 26, 2) + (size_t)number(header + 28, 2);
  if (skipped > count - place || packed_size > count - place - skipped) return NULL;
  // No byte stands for more than 1032.
  if (*size / 1032 > packed_size) return NULL;
  unsigned char *result = malloc(*size ? *size : 1);
  if (!result) return NULL;
  const unsigned char *data = header + skipped;
  int is_whole = 0;
  if (method == 0 && packed_size == *size) {
    memcpy(result, data, *size);
    is_whole = 1;
  } else if (method == 8) {
    is_whole = unpack(data, packed_size, result, *size);
  }
  if (is_whole) return result;
  free(result);
  return NULL;
}

unsigned char *mjguard_rewrite_archive(
    const unsigned char *bytes, size_t count, mjguard_change change, char from, char to,
    size_t *new_count, int *failed) {
  *failed = 1;
  if (count < end_size) return NULL;
  // A comment may follow the end, whatever is in it.
  const unsigned char *end = bytes + count - end_size;
  while (memcmp(end, "PK\5\6", 4) != 0 || number(end + 20, 2) > bytes + count - end - end_size) {
    if (end == bytes || bytes + count - end > end_size + 0xFFFF) return NULL;
    end--;
  }
  const unsigned files = number(end + 10, 2);
  size_t place = number(end + 16, 4);
  buffer out = {0}, list = {0};
  int is_changed = 0;
  for (unsigned i = 0; i < files && !out.failed; i++) {
    const unsigned char *record = bytes + place;
    if (place > count || count - place < record_size || memcmp(record, "PK\1\2", 4) != 0) {
      out.failed = 1;
      break;
    }
    const size_t name_length = number(record + 28, 2);
    const size_t length =
        record_size + name_length + number(record + 30, 2) + (size_t)number(record + 32, 2);
    char name[name_size];
    size_t size;
    unsigned char *text = NULL;
    if (length <= count - place && name_length < name_size) text = contents(bytes, count, record, &size);
    if (!text) {
      out.failed = 1;
      break;
    }
    memcpy(name, record + record_size, name_length);
    name[name_length] = 0;
    size_t changed_size;
    unsigned char *changed = change(name, text, size, &changed_size, &out.failed);
    if (changed) {
      is_changed = 1;
      free(text);
      text = changed;
      size = changed_size;
    }
    for (size_t k = 0; k < name_length; k++) {
      if (name[k] != from) continue;
      name[k] = to;
      is_changed = 1;
    }
    const uint32_t sum = checksum(text, size);
    const unsigned flags = number(record + 8, 2);
    put(&list, "PK\1\2\24\0", 6);
    put_common(&list, flags, sum, size, name_length);
    put_number(&list, 0, 4);  // no comment, the first disk
    put_number(&list, 0, 2);
    put_number(&list, number(record + 38, 4), 4);
    put_number(&list, out.count, 4);
    put(&list, name, name_length);
    put(&out, "PK\3\4", 4);
    put_common(&out, flags, sum, size, name_length);
    put(&out, name, name_length);
    put(&out, text, size);
    free(text);
    place += length;
  }
  place = out.count;
  put(&out, list.bytes, list.count);
  put(&out, "PK\5\6\0\0\0\0", 8);
  put_number(&out, files, 2);
  put_number(&out, files, 2);
  put_number(&out, list.count, 4);
  put_number(&out, place, 4);
  put_number(&out, 0, 2);
  *failed = out.failed || list.failed || out.count > 0x7FFFFFFF;
  free(list.bytes);
  if (*failed || !is_changed) {
    free(out.bytes);
    return NULL;
  }
  *new_count = out.count;
  return out.bytes;
}
