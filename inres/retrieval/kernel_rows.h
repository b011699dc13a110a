// Part of kernel_body.h: the features of a segment, and the rankings of queries.

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

inline void prefetch_bytes(const void* start, int64_t size) {
  const char* bytes = static_cast<const char*>(start);
  size = std::min<int64_t>(size, 1024);  // the hardware does the rest
  for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(bytes + i);
}

inline float widened(uint16_t half) {  // a finite float16
  const uint32_t magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
  float value;  // the exponent is moved by a multiplication, which is exact also for subnormals
  std::memcpy(&value, &magnitude, 4);
  value *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits |= sign;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The features of a segment, row by row as float32.
class Rows {
 public:
  explicit Rows(const Segment& s)
      : start_(static_cast<const char*>(s.features)), order_(s.order), dims_(s.dims), kind_(s.kind),
        bytes_(s.dims * (s.kind ? 2 : 4)), wide_(s.kind ? s.dims : 0) {}

  void prefetch(int64_t position) const { prefetch_bytes(start(position), bytes_); }

  const float* at(int64_t position) {  // valid until the next call
    const char* row = start(position);
    if (kind_ == 0) return reinterpret_cast<const float*>(row);
    const uint16_t* narrow = reinterpret_cast<const uint16_t*>(row);
    if (kind_ == 1) {
      for (int64_t d = 0; d < dims_; ++d) wide_[d] = widened(narrow[d]);
    } else {
      uint32_t* bits = reinterpret_cast<uint32_t*>(wide_.data());
      for (int64_t d = 0; d < dims_; ++d) bits[d] = uint32_t{narrow[d]} << 16;
    }
    return wide_.data();
  }

 private:
  const char* start(int64_t position) const {
    return start_ + (order_ ? order_[position] : position) * bytes_;
  }

  const char* start_;
  const int32_t* order_;
  int64_t dims_, kind_, bytes_;
  std::vector<float> wide_;
};

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

// The state of one query on one thread.
struct Search {
  Best best;
  int64_t pool = 0;
  Shared* shared = nullptr;
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

// A segment with room for work on its rows; one per thread.
struct Reader {
  const Segment& segment;
  int64_t number;  // of the segment
  Rows rows;

  Reader(const Segment& segment, int64_t number)
      : segment(segment), number(number), rows(segment) {}

  // Offers the rows at first + places[i], i < n, to a search; of all `known` places the next ones
  // are fetched in advance.
  template <typename Place>
  void read(const float* query, Search& s, int64_t first, const Place* places, int64_t n,
            int64_t known) {
    for (int64_t i = 0; i < std::min(kAhead, known); ++i) rows.prefetch(first + places[i]);
    for (int64_t i = 0; i < n; ++i) {
      if (i + kAhead < known) rows.prefetch(first + places[i + kAhead]);
      const int64_t position = first + places[i];
      const float square = squared_distance(query, rows.at(position), segment.dims);
      s.best.offer(key_of(square, segment.ids[position]), place_of(number, position));
    }
    if (s.shared && s.best.full()) s.shared->lower(s.best.worst());
  }
};

// The query relative to the tile's centre; returns its squared norm.
inline float move_query(const Segment& segment, int64_t tile, const float* query, float* moved) {
  const float* centre = segment.centre + tile * segment.dims;
  float sums[16] = {};
  const int64_t dims = segment.dims;
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
inline int64_t within_reach(const Segment& segment, int64_t first, float length, float limit,
                            const float* product, uint16_t* places, int64_t n) {
  const float* scale = segment.scale + first;
  const float* norm = segment.norm + first;
  const float rounding = (2 * static_cast<float>(segment.dims) + 64) * kUlp;
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

// The candidates of up to four queries in one tile, which share its sketch.
class Pending {
 public:
  // Ranks n places in `tile`; those of up to three queries may have to wait for a fourth.
  void add(Reader& reader, int64_t tile, const float* query, Search& s, const uint16_t* places,
           int64_t n) {
    int64_t read = n < kFew ? n : 0;
    if (!s.best.full() && worst_of(s) == std::numeric_limits<float>::infinity())
      read = std::max(read, std::min<int64_t>(n, s.best.k - s.best.rows.size()));
    reader.read(query, s, tile * kTile, places, read, read);
    if (read == n) return;
    One& one = waiting_[count_++];
    one.search = &s;
    one.query = query;
    one.moved.resize(reader.segment.dims);
    one.product.resize(kTile);
    one.length = move_query(reader.segment, tile, query, one.moved.data());
    one.places.assign(places + read, places + n);
    if (count_ == 4) flush(reader, tile);
  }

  void flush(Reader& reader, int64_t tile) {
    const Segment& segment = reader.segment;
    const int64_t first = tile * kTile, dims = segment.dims;
    const int8_t* sketch = segment.sketch + first * dims;
    bool together = count_ == 4;
    for (int q = 0; q < count_; ++q) together &= waiting_[q].places.size() >= kMany;
    if (together) {
      const float* moved[4];
      for (int q = 0; q < 4; ++q) moved[q] = waiting_[q].moved.data();
      const int64_t inside = std::min(kTile, segment.count - first);
      for (int64_t row = 0; row < inside; ++row) {
        float out[4];
        products<4>(moved, sketch + row * dims, dims, out);
        for (int q = 0; q < 4; ++q) waiting_[q].product[row] = out[q];
      }
    }
    for (int q = 0; q < count_; ++q) {
      One& one = waiting_[q];
      int64_t n = static_cast<int64_t>(one.places.size());
      if (!together) {
        const float* moved = one.moved.data();
        for (int64_t i = 0; i < n; ++i) {
          if (i + kAhead < n) prefetch_bytes(sketch + one.places[i + kAhead] * dims, dims);
          products<1>(&moved, sketch + one.places[i] * dims, dims, &one.product[one.places[i]]);
        }
      }
      const float limit = reach(worst_of(*one.search), segment.slack[tile], dims);
      n = within_reach(segment, first, one.length, limit, one.product.data(), one.places.data(), n);
      reader.read(one.query, *one.search, first, one.places.data(), n, n);
    }
    count_ = 0;
  }

 private:
  struct One {
    Search* search;
    const float* query;
    float length;
    std::vector<float> moved;
    std::vector<float> product;
    std::vector<uint16_t> places;
  };
  One waiting_[4];
  int count_ = 0;
};
