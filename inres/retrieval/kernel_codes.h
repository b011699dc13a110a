// Part of kernel_body.h: the codes of a segment.

inline uint32_t count_bits(uint32_t x) {
  // Shifts and adds, which compilers vectorize even without a vector popcount.
  x = x - ((x >> 1) & 0x55555555u);
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  x = x + (x >> 8);
  return (x + (x >> 16)) & 0x3fu;
}

// Marks the codes nearer than `limit` in `chunks` chunks [chunks, W, 16] of a directory: code
// 16 c + i is bit i of mask c. Returns their number. W is `kWords` unless that is 0.
template <int kWords>
int64_t mask_of_width(const uint32_t* codes, int64_t chunks, const uint32_t* query, int64_t words,
                      uint32_t limit, uint16_t* mask) {
  const int64_t w_end = kWords ? kWords : words;
  int64_t total = 0;
#ifdef INRES_AVX512
  const __m512i bound = _mm512_set1_epi32(static_cast<int>(limit));
  for (int64_t c = 0; c < chunks; ++c) {
    __m512i d = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int64_t w = 0; w < w_end; ++w) {
      const __m512i code = _mm512_loadu_si512(codes + (c * w_end + w) * kChunk);
      const __m512i word = _mm512_set1_epi32(static_cast<int>(query[w]));
      d = _mm512_add_epi32(d, _mm512_popcnt_epi32(_mm512_xor_si512(code, word)));
    }
    const __mmask16 near = _mm512_cmplt_epu32_mask(d, bound);
    mask[c] = near;
    total += __builtin_popcount(near);
  }
#elif defined(INRES_AVX2)
  // Counts the bits of half bytes with a table of sixteen (Mula et al. 2017), summed in bytes.
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i bytes_of_one = _mm256_set1_epi8(1), pairs_of_one = _mm256_set1_epi16(1);
  const __m256i bound = _mm256_set1_epi32(static_cast<int>(std::min(limit, 0x7fffffffu)));
  constexpr int64_t kWordsInBytes = 16;  // 8 bits per byte and word: no byte overflows
  for (int64_t c = 0; c < chunks; ++c) {
    uint32_t near = 0;
    for (int half = 0; half < kChunk; half += 8) {
      __m256i d = _mm256_setzero_si256();
      for (int64_t w = 0; w < w_end;) {
        const int64_t stop = std::min(w_end, w + kWordsInBytes);
        __m256i sums = _mm256_setzero_si256();
        for (; w < stop; ++w) {
          const uint32_t* here = codes + (c * w_end + w) * kChunk + half;
          const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(here));
          const __m256i x = _mm256_xor_si256(code, _mm256_set1_epi32(static_cast<int>(query[w])));
          const __m256i right = _mm256_shuffle_epi8(table, _mm256_and_si256(x, low));
          const __m256i left =
              _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low));
          sums = _mm256_add_epi8(sums, _mm256_add_epi8(right, left));
        }
        const __m256i pairs = _mm256_maddubs_epi16(sums, bytes_of_one);
        d = _mm256_add_epi32(d, _mm256_madd_epi16(pairs, pairs_of_one));
      }
      const __m256 nearer = _mm256_castsi256_ps(_mm256_cmpgt_epi32(bound, d));
      near |= static_cast<uint32_t>(_mm256_movemask_ps(nearer)) << half;
    }
    mask[c] = static_cast<uint16_t>(near);
    total += __builtin_popcount(near);
  }
#else
  for (int64_t c = 0; c < chunks; ++c) {
    uint32_t d[kChunk] = {};
    for (int64_t w = 0; w < w_end; ++w)
      for (int i = 0; i < kChunk; ++i)
        d[i] += count_bits(codes[(c * w_end + w) * kChunk + i] ^ query[w]);
    uint32_t near = 0;
    for (int i = 0; i < kChunk; ++i) near |= static_cast<uint32_t>(d[i] < limit) << i;
    mask[c] = static_cast<uint16_t>(near);
    for (; near; near &= near - 1) ++total;
  }
#endif
  return total;
}

int64_t mask_chunks(const uint32_t* codes, int64_t chunks, const uint32_t* query, int64_t words,
                    uint32_t limit, uint16_t* mask) {
  switch (words) {
    case 1: return mask_of_width<1>(codes, chunks, query, words, limit, mask);
    case 2: return mask_of_width<2>(codes, chunks, query, words, limit, mask);
    case 4: return mask_of_width<4>(codes, chunks, query, words, limit, mask);
    default: return mask_of_width<0>(codes, chunks, query, words, limit, mask);
  }
}

// Distances of the codes of `chunks` chunks, uint32 [16 chunks].
inline void distances_of(const uint32_t* codes, int64_t chunks, const uint32_t* query,
                         int64_t words, uint32_t* distance) {
  for (int64_t c = 0; c < chunks; ++c) {
#ifdef INRES_AVX512
    __m512i d = _mm512_setzero_si512();
    for (int64_t w = 0; w < words; ++w) {
      const __m512i code = _mm512_loadu_si512(codes + (c * words + w) * kChunk);
      const __m512i word = _mm512_set1_epi32(static_cast<int>(query[w]));
      d = _mm512_add_epi32(d, _mm512_popcnt_epi32(_mm512_xor_si512(code, word)));
    }
    _mm512_storeu_si512(distance + c * kChunk, d);
#else
    uint32_t d[kChunk] = {};
    for (int64_t w = 0; w < words; ++w)
      for (int i = 0; i < kChunk; ++i)
        d[i] += count_bits(codes[(c * words + w) * kChunk + i] ^ query[w]);
    std::copy(d, d + kChunk, distance + c * kChunk);
#endif
  }
}

// The first word of a code of a directory; the next are kChunk apart.
inline const uint32_t* code_at(const Segment& segment, int64_t code) {
  return segment.codes + code / kChunk * segment.words * kChunk + code % kChunk;
}

inline uint32_t distance_of(const Segment& segment, const uint32_t* query, int64_t code) {
  const uint32_t* words = code_at(segment, code);
  uint32_t d = 0;
  for (int64_t w = 0; w < segment.words; ++w)
    d += static_cast<uint32_t>(__builtin_popcount(words[w * kChunk] ^ query[w]));
  return d;
}

// Whether a code of the directory comes before `code`.
inline bool comes_before(const Segment& segment, int64_t place, const uint32_t* code) {
  const uint32_t* words = code_at(segment, place);
  for (int64_t w = 0; w < segment.words; ++w)
    if (words[w * kChunk] != code[w]) return words[w * kChunk] < code[w];
  return false;
}

// The first place in [first, last) of the directory that does not come before `code`.
inline int64_t lower_place(const Segment& segment, const uint32_t* code, int64_t first,
                           int64_t last) {
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (comes_before(segment, middle, code)) first = middle + 1;
    else last = middle;
  }
  return first;
}

inline void prefetch_code(const Segment& segment, int64_t code) {
  const uint32_t* words = code_at(segment, code);
  for (int64_t w = 0; w < segment.words; ++w) __builtin_prefetch(words + w * kChunk);
}

// The code of the item at `position`, from the code `from` on, which must not come after it.
inline int64_t code_of(const Segment& segment, int64_t position, int64_t from = 0) {
  const int32_t* starts = segment.starts;
  if (!starts) return position;
  // Doubling steps first: the code searched for is often close.
  int64_t step = 1;
  while (from + step < segment.distinct && starts[from + step] <= position) {
    from += step;
    step *= 2;
  }
  const int32_t* end = starts + std::min(from + step, segment.distinct) + 1;
  return std::upper_bound(starts + from, end, position) - starts - 1;
}

inline int64_t first_item(const Segment& segment, int64_t code) {
  return segment.starts ? segment.starts[code] : code;
}

// Calls take(i) for every set bit i of `chunks` masks in ascending order. Up to three masks after
// the last are read and must be zero.
template <typename Take>
inline void each_bit(const uint16_t* mask, int64_t chunks, const Take& take) {
  for (int64_t c = 0; c < chunks; c += 4) {
    uint64_t bits;
    std::memcpy(&bits, mask + c, 8);  // little-endian, like every target of this code
    for (; bits; bits &= bits - 1) take(c * kChunk + __builtin_ctzll(bits));
  }
}
