// Included by kernel.cc once per instruction set, in a namespace of that name; therefore without an
// include guard. Nothing else includes it.

namespace {
namespace INRES_BODY {

// ---- Hamming distances ---------------------------------------------------------------------

inline uint32_t count_bits(uint32_t x) {
  // Shifts and adds, which compilers vectorize even without a vector popcount.
  x = x - ((x >> 1) & 0x55555555u);
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  x = x + (x >> 8);
  return (x + (x >> 16)) & 0x3fu;
}

// Marks the items of a tile nearer than `limit`: item 16 c + i is bit i of mask c, for 64 masks.
// Returns their number. `codes` is [W, 1024]. W is `kWords` unless that is 0.
template <int kWords>
int64_t mask_of_width(const uint32_t* codes, const uint32_t* query, int64_t words, uint32_t limit,
                      uint16_t* mask) {
  const int64_t w_end = kWords ? kWords : words;
  int64_t total = 0;
#ifdef INRES_AVX512
  const __m512i bound = _mm512_set1_epi32(static_cast<int>(limit));
  for (int c = 0; c < kChunks; ++c) {
    __m512i d = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int64_t w = 0; w < w_end; ++w) {
      // The next tile's codes: hardware prefetching stops at the end of a page, and one word of a
      // tile fills a page.
      __builtin_prefetch(codes + (w_end + w) * kTile + c * kChunk);
      const __m512i code = _mm512_loadu_si512(codes + w * kTile + c * kChunk);
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
  for (int c = 0; c < kChunks; ++c) {
    uint32_t near = 0;
    for (int half = 0; half < kChunk; half += 8) {
      __m256i d = _mm256_setzero_si256();
      for (int64_t w = 0; w < w_end;) {
        const int64_t stop = std::min(w_end, w + kWordsInBytes);
        __m256i sums = _mm256_setzero_si256();
        for (; w < stop; ++w) {
          const uint32_t* here = codes + w * kTile + c * kChunk + half;
          if (half == 0) __builtin_prefetch(here + w_end * kTile);  // next tile, as above
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
  for (int c = 0; c < kChunks; ++c) {
    uint32_t d[kChunk] = {};
    for (int64_t w = 0; w < w_end; ++w)
      for (int i = 0; i < kChunk; ++i)
        d[i] += count_bits(codes[w * kTile + c * kChunk + i] ^ query[w]);
    uint32_t near = 0;
    for (int i = 0; i < kChunk; ++i) near |= static_cast<uint32_t>(d[i] < limit) << i;
    mask[c] = static_cast<uint16_t>(near);
    for (; near; near &= near - 1) ++total;
  }
#endif
  return total;
}

int64_t mask_tile(const uint32_t* codes, const uint32_t* query, int64_t words, uint32_t limit,
                  uint16_t* mask) {
  switch (words) {
    case 1: return mask_of_width<1>(codes, query, words, limit, mask);
    case 2: return mask_of_width<2>(codes, query, words, limit, mask);
    case 4: return mask_of_width<4>(codes, query, words, limit, mask);
    default: return mask_of_width<0>(codes, query, words, limit, mask);
  }
}

// Distance of the item at `place` in a tile [W, 1024].
inline uint32_t distance_at(const uint32_t* codes, const uint32_t* query, int64_t words,
                            int64_t place) {
  uint32_t d = 0;
  for (int64_t w = 0; w < words; ++w)
    d += static_cast<uint32_t>(__builtin_popcount(codes[w * kTile + place] ^ query[w]));
  return d;
}

// Lists the places of the set bits in ascending order; returns their number.
inline int64_t list_mask(const uint16_t* mask, uint16_t* places) {
  int64_t n = 0;
  for (int c = 0; c < kChunks; c += 4) {
    uint64_t bits;
    std::memcpy(&bits, mask + c, 8);  // little-endian, like every target of this code
    for (; bits; bits &= bits - 1)
      places[n++] = static_cast<uint16_t>(c * kChunk + __builtin_ctzll(bits));
  }
  return n;
}

// ---- Euclidean distances -------------------------------------------------------------------

// Sum of squared differences in a fixed order: 32 partial sums, then added in pairs of halves.
inline float squared_distance(const float* a, const float* b, int64_t dims) {
  constexpr int kSums = 32;
  float sums[kSums] = {};
  int64_t d = 0;
#ifdef INRES_AVX512
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  for (; d + kSums <= dims; d += kSums) {
    const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(a + d), _mm512_loadu_ps(b + d));
    const __m512 y = _mm512_sub_ps(_mm512_loadu_ps(a + d + 16), _mm512_loadu_ps(b + d + 16));
    low = _mm512_add_ps(low, _mm512_mul_ps(x, x));
    high = _mm512_add_ps(high, _mm512_mul_ps(y, y));
  }
  _mm512_storeu_ps(sums, low);
  _mm512_storeu_ps(sums + 16, high);
#else
  for (; d + kSums <= dims; d += kSums)
    for (int i = 0; i < kSums; ++i) {
      const float x = a[d + i] - b[d + i];
      sums[i] += x * x;
    }
#endif
  for (int i = 0; d < dims; ++d, ++i) {
    const float x = a[d] - b[d];
    sums[i] += x * x;
  }
  for (int half = kSums / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

template <typename T>
inline void prefetch_row(const T* row, int64_t dims) {
  const char* bytes = reinterpret_cast<const char*>(row);
  const int64_t size = std::min<int64_t>(sizeof(T) * dims, 1024);  // then the hardware does
  for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(bytes + i);
}

constexpr int64_t kAhead = 4;  // rows to prefetch before they are needed

// Inner products of `kQueries` vectors [D] with one row of the sketch [D].
template <int kQueries>
inline void products(const float* const* moved, const int8_t* row, int64_t dims, float* out) {
  int64_t d = 0;
#ifdef INRES_AVX512
  __m512 sums[kQueries];
  for (int q = 0; q < kQueries; ++q) sums[q] = _mm512_setzero_ps();
  for (; d + 16 <= dims; d += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + d));
    const __m512 wide = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
    for (int q = 0; q < kQueries; ++q)
      sums[q] = _mm512_fmadd_ps(wide, _mm512_loadu_ps(moved[q] + d), sums[q]);
  }
  for (int q = 0; q < kQueries; ++q) out[q] = _mm512_reduce_add_ps(sums[q]);
#else
  for (int q = 0; q < kQueries; ++q) {
    float sums[16] = {};
    for (d = 0; d + 16 <= dims; d += 16)
      for (int i = 0; i < 16; ++i) sums[i] += static_cast<float>(row[d + i]) * moved[q][d + i];
    out[q] = 0;
    for (int i = 0; i < 16; ++i) out[q] += sums[i];
  }
#endif
  for (; d < dims; ++d)
    for (int q = 0; q < kQueries; ++q) out[q] += static_cast<float>(row[d]) * moved[q][d];
}

// ---- One query in one tile -----------------------------------------------------------------

// The state of one query on one thread.
struct Search {
  Best best;
  int64_t pool = 0;
  Shared* shared = nullptr;
};

struct Tile {
  const Items& items;
  int64_t first;  // position of its first row
  int64_t index;
};

// The squared distance to a row's copy above which the row is certainly beyond the K-th distance:
// the bound of rerank.py, solved for the distance to the copy.
inline float reach(float worst, float slack, int64_t dims) {
  const float relative = 2 * (static_cast<float>(dims) + 4) * kUlp;
  const float far = std::sqrt(worst) * (1 + relative) + 1e-18f * static_cast<float>(dims) + slack;
  return far * far * (1 + 64 * kUlp);
}

inline float worst_of(const Search& s) {
  const float others = s.shared ? s.shared->get() : std::numeric_limits<float>::infinity();
  return s.best.full() ? std::min(others, s.best.worst()) : others;
}

inline void read_rows(const Tile& tile, const float* query, Search& s, const uint16_t* places,
                      int64_t n) {
  const Items& items = tile.items;
  const float* rows = items.features + tile.first * items.dims;
  for (int64_t i = 0; i < std::min(kAhead, n); ++i)
    prefetch_row(rows + places[i] * items.dims, items.dims);
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) prefetch_row(rows + places[i + kAhead] * items.dims, items.dims);
    const float square = squared_distance(query, rows + places[i] * items.dims, items.dims);
    const int64_t position = tile.first + places[i];
    s.best.offer(key_of(square, items.ids[position]), position);
  }
  if (s.shared && s.best.full()) s.shared->lower(s.best.worst());
}

// The query relative to the tile's centre; returns its squared norm.
inline float move_query(const Tile& tile, const float* query, float* moved) {
  const float* centre = tile.items.centre + tile.index * tile.items.dims;
  float sums[16] = {};
  const int64_t dims = tile.items.dims;
  int64_t d = 0;
  for (; d + 16 <= dims; d += 16)
    for (int i = 0; i < 16; ++i) {
      moved[d + i] = query[d + i] - centre[d + i];
      sums[i] += moved[d + i] * moved[d + i];
    }
  for (; d < dims; ++d) {
    moved[d] = query[d] - centre[d];
    sums[0] += moved[d] * moved[d];
  }
  float length = 0;
  for (int i = 0; i < 16; ++i) length += sums[i];
  return length;
}

// Keeps those of n places whose rows may be within reach, given the inner products by place.
inline int64_t within_reach(const Tile& tile, float length, float limit, const float* product,
                            uint16_t* places, int64_t n) {
  const float* scale = tile.items.scale + tile.first;
  const float* norm = tile.items.norm + tile.first;
  const float rounding = (2 * static_cast<float>(tile.items.dims) + 64) * kUlp;
  int64_t kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t p = places[i];
    const float square =
        (length - 2 * scale[p] * product[p] + norm[p]) - rounding * (length + norm[p]);
    places[kept] = places[i];
    kept += !(square > limit);
  }
  return kept;
}

// With fewer candidates in a tile than this, their rows are read without consulting the sketch.
constexpr int64_t kFew = 8;
// With at least this many candidates each, four queries share one pass over the sketch of a tile.
constexpr int64_t kMany = 256;

struct Pending {
  int64_t query;
  int64_t n;
  float length;
  std::vector<float> moved;
  std::vector<float> product;
  std::vector<uint16_t> places;
};

// Ranks the candidates of up to four queries in one tile, using its sketch.
inline void rank_pending(const Tile& tile, const Queries& queries, std::vector<Search>& searches,
                         int64_t first_query, Pending* pending, int64_t n) {
  const Items& items = tile.items;
  const int8_t* sketch = items.sketch + tile.first * items.dims;
  const bool together = n == 4 && pending[0].n >= kMany && pending[1].n >= kMany &&
                        pending[2].n >= kMany && pending[3].n >= kMany;
  if (together) {
    const float* moved[4];
    for (int q = 0; q < 4; ++q) moved[q] = pending[q].moved.data();
    for (int64_t row = 0; row < kTile; ++row) {
      float out[4];
      products<4>(moved, sketch + row * items.dims, items.dims, out);
      for (int q = 0; q < 4; ++q) pending[q].product[row] = out[q];
    }
  }
  for (int64_t q = 0; q < n; ++q) {
    Pending& p = pending[q];
    Search& s = searches[p.query - first_query];
    const float* query = queries.features + p.query * items.dims;
    if (!together) {
      const float* moved = p.moved.data();
      for (int64_t i = 0; i < p.n; ++i) {
        if (i + kAhead < p.n) prefetch_row(sketch + p.places[i + kAhead] * items.dims, items.dims);
        const int8_t* row = sketch + p.places[i] * items.dims;
        products<1>(&moved, row, items.dims, &p.product[p.places[i]]);
      }
    }
    const float limit = reach(worst_of(s), items.slack[tile.index], items.dims);
    p.n = within_reach(tile, p.length, limit, p.product.data(), p.places.data(), p.n);
    read_rows(tile, query, s, p.places.data(), p.n);
  }
}

// Searches one tile for the queries [first, last).
inline void pass_tile(const Items& items, const Queries& queries, int64_t t, int64_t first,
                      int64_t last, std::vector<Search>& searches, Pending* pending) {
  const Tile tile{items, t * kTile, t};
  const int64_t inside = std::min(kTile, items.count - tile.first);
  if (inside <= 0) return;
  alignas(64) uint16_t mask[kChunks];
  uint16_t places[kTile];
  int64_t waiting = 0;
  for (int64_t q = first; q < last; ++q) {
    const int32_t threshold = queries.threshold[q];
    if (threshold <= 0) continue;
    const uint32_t* code = queries.codes + q * items.words;
    if (!mask_tile(items.codes + tile.first * items.words, code, items.words,
                   static_cast<uint32_t>(threshold), mask))
      continue;
    int64_t n = list_mask(mask, places);
    while (n && places[n - 1] >= inside) --n;
    const Sight sight(items.groups + tile.first, items.labels ? items.labels + tile.first : nullptr,
                      queries, q);
    if (!sight.all()) {
      int64_t kept = 0;
      for (int64_t i = 0; i < n; ++i) {
        places[kept] = places[i];
        kept += !sight.hidden(places[i]);
      }
      n = kept;
    }
    if (n == 0) continue;
    Search& s = searches[q - first];
    s.pool += n;
    const float* query = queries.features + q * items.dims;
    int64_t read = n < kFew ? n : 0;
    if (!s.best.full() && worst_of(s) == std::numeric_limits<float>::infinity())
      read = std::max(read, std::min<int64_t>(n, s.best.k - s.best.rows.size()));
    read_rows(tile, query, s, places, read);
    if (read == n) continue;
    Pending& p = pending[waiting];
    p.moved.resize(items.dims);
    p.product.resize(kTile);
    p.places.resize(kTile);
    p.length = move_query(tile, query, p.moved.data());
    p.query = q;
    p.n = n - read;
    std::copy(places + read, places + n, p.places.begin());
    if (++waiting == 4) {
      rank_pending(tile, queries, searches, first, pending, waiting);
      waiting = 0;
    }
  }
  rank_pending(tile, queries, searches, first, pending, waiting);
}

// ---- The whole searches --------------------------------------------------------------------

inline void write_ranking(const Items& items, const Queries& queries, int64_t q, Best& best,
                          int32_t* ids, int32_t* hamming, float* distance) {
  std::vector<Found>& rows = best.rows;
  std::sort(rows.begin(), rows.end());
  for (int64_t i = 0; i < queries.k; ++i) {
    const int64_t out = q * queries.k + i;
    if (i < static_cast<int64_t>(rows.size())) {
      const int64_t position = rows[i].position, tile = position / kTile;
      ids[out] = items.ids[position];
      hamming[out] = distance_at(items.codes + tile * kTile * items.words,
                                 queries.codes + q * items.words, items.words, position % kTile);
      distance[out] = std::sqrt(square_of(rows[i].key));
    } else {
      ids[out] = hamming[out] = -1;
      distance[out] = std::numeric_limits<float>::infinity();
    }
  }
}

inline std::vector<Search> start(const Items& items, const Queries& queries, int64_t n) {
  std::vector<Search> searches(n);
  const size_t k = static_cast<size_t>(std::min(queries.k, std::max<int64_t>(items.count, 1)));
  for (Search& s : searches) s.best.k = k;
  return searches;
}

void search(const Items& items, const Queries& queries, int threads, int32_t* ids,
            int32_t* hamming, float* distance, int32_t* pool) {
  const int64_t used = (items.count + kTile - 1) / kTile;
  if (queries.count >= 4 * threads) {
    threads = worth_starting(threads, used * queries.count);
    const int64_t share = ((queries.count + threads - 1) / threads + 3) / 4 * 4;
    run_on(threads, threads, [&](int64_t part) {
      const int64_t first = std::min(part * share, queries.count);
      const int64_t last = std::min(first + share, queries.count);
      std::vector<Search> mine = start(items, queries, last - first);
      Pending pending[4];
      for (int64_t t = 0; t < used; ++t)
        pass_tile(items, queries, t, first, last, mine, pending);
      for (int64_t q = first; q < last; ++q) {
        pool[q] = static_cast<int32_t>(mine[q - first].pool);
        write_ranking(items, queries, q, mine[q - first].best, ids, hamming, distance);
      }
    });
    return;
  }
  std::vector<Shared> shared(queries.count);
  std::vector<std::vector<Search>> parts(threads);
  std::vector<Pending> pendings(4 * threads);
  for (std::vector<Search>& mine : parts) {
    mine = start(items, queries, queries.count);
    for (int64_t q = 0; q < queries.count; ++q) mine[q].shared = &shared[q];
  }
  const int took_part = share_out(threads, used, [&](int thread, int64_t t) {
    pass_tile(items, queries, t, 0, queries.count, parts[thread], &pendings[4 * thread]);
  });
  for (int64_t q = 0; q < queries.count; ++q) {
    Search& all = parts[0][q];
    for (int thread = 1; thread < took_part; ++thread) {
      all.pool += parts[thread][q].pool;
      for (const Found& found : parts[thread][q].best.rows)
        all.best.offer(found.key, found.position);
    }
    pool[q] = static_cast<int32_t>(all.pool);
    write_ranking(items, queries, q, all.best, ids, hamming, distance);
  }
}

// ---- Hamming distance alone ----------------------------------------------------------------

// Keeps the K smallest keys and lowers the limit accordingly.
inline void prune(Nearest& nearest, size_t k) {
  std::vector<uint64_t>& keys = nearest.keys;
  if (keys.size() < k) return;
  std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.end());
  keys.resize(k);
  // Later items have higher ids, so they lose a tie at the K-th distance.
  nearest.limit = static_cast<uint32_t>(keys[k - 1] >> Nearest::kShift);
}

// A limit below which a full tile has at least K items, found by counting its distances.
inline uint32_t first_limit(const uint32_t* codes, const uint32_t* query, int64_t words, size_t k) {
  uint32_t distance[kTile];
  for (int64_t i = 0; i < kTile; ++i) distance[i] = 0;
  for (int64_t w = 0; w < words; ++w)
    for (int64_t i = 0; i < kTile; ++i)
      distance[i] += count_bits(codes[w * kTile + i] ^ query[w]);
  constexpr uint32_t kFar = 512;  // larger distances are counted as this
  uint32_t counts[kFar + 1] = {};
  for (int64_t i = 0; i < kTile; ++i) ++counts[std::min(distance[i], kFar)];
  size_t total = 0;
  for (uint32_t d = 0; d < kFar; ++d)
    if ((total += counts[d]) >= k) return d + 1;
  return std::numeric_limits<uint32_t>::max();
}

// Searches one tile in id order for one query; place 64 j + b is item 16 b + j.
inline void pass_nearest(const Items& items, const Queries& queries, int64_t t, int64_t q,
                         size_t k, Nearest& nearest) {
  const uint32_t* codes = items.codes_by_id + t * kTile * items.words;
  const uint32_t* query = queries.codes + q * items.words;
  const Sight sight(items.groups_by_id + t * kTile,
                    items.labels_by_id ? items.labels_by_id + t * kTile : nullptr, queries, q);
  const bool all = sight.all();
  if (nearest.keys.empty() && all && (t + 1) * kTile <= items.count)
    nearest.limit = std::min(nearest.limit, first_limit(codes, query, items.words, k));
  alignas(64) uint16_t mask[kChunks];
  if (!mask_tile(codes, query, items.words, nearest.limit, mask)) return;
  for (int c = 0; c < kChunks; c += 4) {
    uint64_t bits;
    std::memcpy(&bits, mask + c, 8);
    for (; bits; bits &= bits - 1) {
      const int64_t place = c * kChunk + __builtin_ctzll(bits);
      const int64_t item = t * kTile + kBlock * (place % kLanes) + place / kLanes;
      if (item >= items.count || (!all && sight.hidden(place))) continue;
      const uint64_t d = distance_at(codes, query, items.words, place);
      nearest.keys.push_back(d << Nearest::kShift | static_cast<uint64_t>(item));
    }
  }
  if (nearest.keys.size() >= k + std::max<size_t>(k / 2, 32)) prune(nearest, k);
}

inline void write_nearest(const Items& items, const Queries& queries, int64_t q, size_t k,
                          Nearest& nearest, int32_t* ids, int32_t* hamming, int32_t* item) {
  prune(nearest, k);
  std::sort(nearest.keys.begin(), nearest.keys.end());
  for (int64_t i = 0; i < queries.k; ++i) {
    const int64_t out = q * queries.k + i;
    if (i < static_cast<int64_t>(nearest.keys.size())) {
      const uint64_t key = nearest.keys[i];
      item[out] = static_cast<int32_t>(key & ((uint64_t{1} << Nearest::kShift) - 1));
      ids[out] = items.ids_by_id[item[out]];
      hamming[out] = static_cast<int32_t>(key >> Nearest::kShift);
    } else {
      ids[out] = hamming[out] = item[out] = -1;
    }
  }
}

void nearest(const Items& items, const Queries& queries, int threads, int32_t* ids,
             int32_t* hamming, int32_t* item) {
  const int64_t used = (items.count + kTile - 1) / kTile;
  const size_t k = static_cast<size_t>(std::min(queries.k, std::max<int64_t>(items.count, 1)));
  const Nearest fresh{{}, static_cast<uint32_t>(32 * items.words + 1)};
  if (queries.count >= 4 * threads) {
    threads = worth_starting(threads, used * queries.count);
    const int64_t share = (queries.count + threads - 1) / threads;
    run_on(threads, threads, [&](int64_t part) {
      const int64_t first = std::min(part * share, queries.count);
      const int64_t last = std::min(first + share, queries.count);
      std::vector<Nearest> mine(last - first, fresh);
      for (int64_t t = 0; t < used; ++t)
        for (int64_t q = first; q < last; ++q)
          pass_nearest(items, queries, t, q, k, mine[q - first]);
      for (int64_t q = first; q < last; ++q)
        write_nearest(items, queries, q, k, mine[q - first], ids, hamming, item);
    });
    return;
  }
  std::vector<std::vector<Nearest>> parts(threads, std::vector<Nearest>(queries.count, fresh));
  // The tiles of each thread ascend, and so do the ids that it visits.
  const int took_part = share_out(threads, used, [&](int thread, int64_t t) {
    for (int64_t q = 0; q < queries.count; ++q)
      pass_nearest(items, queries, t, q, k, parts[thread][q]);
  });
  for (int64_t q = 0; q < queries.count; ++q) {
    Nearest& all = parts[0][q];
    for (int thread = 1; thread < took_part; ++thread)
      all.keys.insert(all.keys.end(), parts[thread][q].keys.begin(), parts[thread][q].keys.end());
    write_nearest(items, queries, q, k, all, ids, hamming, item);
  }
}

// ---- Ranking of given items ----------------------------------------------------------------

void rank_given(const Items& items, const Queries& queries, int threads, const int32_t* item,
                int64_t m, int32_t* ids, int32_t* hamming, float* distance) {
  threads = worth_starting(threads, queries.count * m / 2);
  run_on(threads, queries.count, [&](int64_t q) {
    Best best;
    best.k = static_cast<size_t>(std::min(queries.k, std::max<int64_t>(m, 1)));
    for (int64_t i = 0; i < m; ++i) {
      const int32_t which = item[q * m + i];
      if (which < 0) continue;
      const int64_t position = items.place[which];
      const float* row = items.features + position * items.dims;
      const float* query = queries.features + q * items.dims;
      best.offer(key_of(squared_distance(query, row, items.dims), items.ids[position]), position);
    }
    write_ranking(items, queries, q, best, ids, hamming, distance);
  });
}

}  // namespace INRES_BODY
}  // namespace
