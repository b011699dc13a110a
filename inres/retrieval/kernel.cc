// The CPU kernel of the search. It gives the results of the jitted programs in plans.py up to the
// rounding of a distance's float32 sum, which is taken in a different order. Plain C++17 with a C
// interface, called from native.py; it needs no Python or JAX headers, only a compiler.
//
// Exactness: distances are float32 sums of (query - feature)^2 in one fixed order (32 partial
// sums), the same on every processor. Rows are ranked by (distance, id). A row is skipped only if a
// lower bound of its distance, including rounding, exceeds the K-th distance so far.
// kernel_body.h is compiled once per instruction set; the version is chosen at each call.
// Which codes are read, and in which order, is a matter of cost alone (kernel_search.h).

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define INRES_X86 1
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kTile = 1024;  // items per tile of the sketch
constexpr int kChunk = 16;       // codes of a directory that lie together, and per mask
constexpr int kChunks = kTile / kChunk;
constexpr float kUlp = 5.9604644775390625e-08f;  // 2^-24, unit roundoff of float32

}  // namespace

// Items sorted by (code, id). Mirrored by _Segment in native.py.
struct Segment {
  const uint32_t* codes;   // [ceil(distinct / 16), W, 16], distinct codes, ascending
  const int32_t* starts;   // [distinct + 1], first item of each code; null: code i is item i's
  const int32_t* ids;      // [n]
  const void* features;    // [n, D]
  const int32_t* order;    // [n], row of each item's features; null: row i is that of item i
  const int32_t* groups;   // [n]; null: no item has a group
  const int32_t* labels;   // [n]; null: no labels
  const uint8_t* hidden;   // [ceil(n / 8)], a bit per item; null: none is hidden
  const int8_t* sketch;    // [n, D]
  const float* centre;     // [T, D]
  const float* scale;      // [n]
  const float* norm;       // [n]
  const float* slack;      // [T]
  const uint32_t* tables;  // [m, 2^width + 1], where buckets begin and end
  const uint32_t* rows;    // [m - 1, distinct], the codes of each bucket
  const int32_t* cuts;     // [m, 5], where substrings lie in codes (Cut in buckets.py)
  int64_t distinct;
  int64_t count;
  int64_t words;
  int64_t dims;
  int64_t kind;  // of the features: 0 float32, 1 float16, 2 bfloat16
  int64_t width;
  int64_t substrings;  // m
};

// What native.py asks for: this, followed without gaps by those arrays that there are, in the order
// of the fields that say so: places int64 [Q, m], then, after the codes, the next fields of Queries.
struct Request {
  const Segment* segments;  // at least one
  int64_t n;                // number of segments
  int64_t count;            // Q
  int64_t k;
  int64_t plan;
  int64_t threads;
  int64_t level;  // best instruction set to use
  int64_t m;      // number of places, or of items
  bool place;
  bool features;
  bool threshold;
  bool own;
  bool only;
};

struct Queries {
  const uint32_t* codes;     // [Q, W]
  const float* features;     // [Q, D]; null for a search by Hamming distance alone
  const int32_t* threshold;  // [Q]; null for a search by Hamming distance alone
  const int32_t* own;        // [Q], group to exclude, -1: none; null: no query has one
  const int32_t* only;       // [Q], only label to search, -1: all; null: no query has one
  int64_t count;
  int64_t k;
  int64_t plan;  // PLANS in native.py
};

namespace {

enum Plan { kAuto, kScan, kList, kBuckets, kDescent };

// Which items are hidden from a query: those of its excluded group, and those without its only
// label. A negative label hides an item from every query.
struct Sight {
  const Segment& segment;
  const int32_t own;
  const int32_t only;

  Sight(const Segment& segment, const Queries& q, int64_t row)
      : segment(segment), own(q.own && segment.groups ? q.own[row] : -1),
        only(q.only ? q.only[row] : -1) {}
  bool all() const { return own < 0 && !segment.labels && !segment.hidden; }
  bool hides(int64_t i) const {
    if (own >= 0 && segment.groups[i] == own) return true;
    if (segment.hidden && (segment.hidden[i / 8] >> (i % 8) & 1)) return true;
    if (segment.labels == nullptr) return false;
    return only >= 0 ? segment.labels[i] != only : segment.labels[i] < 0;
  }
};

// A place of an item in all segments: the number of its segment, and its position there.
constexpr int kSegmentShift = 40;

inline int64_t place_of(int64_t segment, int64_t position) {
  return segment << kSegmentShift | position;
}

struct Found {
  uint64_t key;   // sorts by distance, then by id
  int64_t place;  // place_of
  bool operator<(const Found& other) const { return key < other.key; }
};

uint64_t key_of(float square, int32_t id) {
  uint32_t bits;  // of a non-negative float, which sort like the float
  std::memcpy(&bits, &square, 4);
  return uint64_t{bits} << 32 | static_cast<uint32_t>(id);
}

float square_of(uint64_t key) {
  const uint32_t bits = static_cast<uint32_t>(key >> 32);
  float square;
  std::memcpy(&square, &bits, 4);
  return square;
}

// The K best rows so far; a max-heap once there are K.
struct Best {
  size_t k = 0;
  std::vector<Found> rows;

  bool full() const { return rows.size() == k; }
  float worst() const { return square_of(rows.front().key); }
  void offer(uint64_t key, int64_t place) {
    if (!full()) {
      rows.push_back({key, place});
      if (full()) std::make_heap(rows.begin(), rows.end());
    } else if (key < rows.front().key) {
      std::pop_heap(rows.begin(), rows.end());
      rows.back() = {key, place};
      std::push_heap(rows.begin(), rows.end());
    }
  }
};

// The smallest K-th squared distance of any thread. Rows beyond it cannot be in the result.
class Shared {
 public:
  float get() const { return value_.load(std::memory_order_relaxed); }
  void lower(float square) {
    float seen = get();
    while (square < seen && !value_.compare_exchange_weak(seen, square)) {
    }
  }

 private:
  std::atomic<float> value_{std::numeric_limits<float>::infinity()};
};

// Starting and joining a thread takes about 40 microseconds, as long as scanning five hundred
// tiles. On a busy machine it may take milliseconds, so a thread must save several times that.
constexpr double kThreadSeconds = 40e-6;
constexpr double kWorthThreads = 4e5;  // nanoseconds of work that are worth starting threads

int worth_starting(int threads, int64_t tiles) {
  return static_cast<int>(std::min<int64_t>(threads, 1 + tiles / 1024));
}

// The helper threads of a call. They are always joined, and an exception in one of them is passed
// to the caller; otherwise the process would be terminated.
class Helpers {
 public:
  ~Helpers() { wait(); }
  int count() const { return static_cast<int>(threads_.size()); }

  // Runs work(1), ..., work(n), each on its own thread; fewer if no more threads can be started.
  // `work` must outlive this object.
  template <typename Work>
  void start(int n, const Work& work) {
    try {
      threads_.reserve(n);
      for (int i = 1; i <= n; ++i)
        threads_.emplace_back([this, &work, i] {
          try {
            work(i);
          } catch (...) {
            if (!failed_.exchange(true)) error_ = std::current_exception();
          }
        });
    } catch (const std::system_error&) {  // no more threads
    } catch (const std::bad_alloc&) {     // or no memory for them
    }
  }

  void join() {
    wait();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void wait() {
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

  std::vector<std::thread> threads_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;  // the first one; read after joining
};

// Runs work(share) for every share on up to `threads` threads, including the caller's.
template <typename Work>
void run_on(int threads, int64_t shares, const Work& work) {
  std::atomic<int64_t> next{0};
  const auto take = [&](int) {
    for (int64_t share; (share = next.fetch_add(1)) < shares;) work(share);
  };
  Helpers helpers;
  if (threads > 1) helpers.start(threads - 1, take);
  take(0);
  helpers.join();
}

// Runs work(thread, tile) for all tiles on up to `threads` threads, in ascending order per thread;
// returns the number of threads used. The cost of a search depends on its pools and on the cache,
// so helpers are started only if the rest would take one thread long at its speed so far.
template <typename Work>
int share_out(int threads, int64_t tiles, const Work& work) {
  constexpr int64_t kStep = 16;  // tiles taken at a time
  using Clock = std::chrono::steady_clock;
  std::atomic<int64_t> next{0};
  const auto take = [&](int thread) {
    const int64_t first = next.fetch_add(kStep);
    for (int64_t t = first; t < std::min(first + kStep, tiles); ++t) work(thread, t);
    return first + kStep < tiles;
  };
  const auto help = [&](int thread) { while (take(thread)) {} };
  Helpers helpers;
  bool called = threads < 2;
  const auto begin = Clock::now();
  for (int64_t done = kStep; take(0); done += kStep) {
    if (called) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (seconds * static_cast<double>(tiles - done) / static_cast<double>(done) < 8 * kThreadSeconds)
      continue;
    called = true;
    helpers.start(threads - 1, help);
  }
  helpers.join();
  return 1 + helpers.count();
}

}  // namespace

#define INRES_BODY plain
#include "kernel_body.h"
#undef INRES_BODY

#ifdef INRES_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,popcnt")
#endif
#define INRES_BODY avx2
#define INRES_AVX2 1
#include "kernel_body.h"
#undef INRES_AVX2
#undef INRES_BODY
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,popcnt"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,popcnt,prefer-vector-width=512")
#endif
#define INRES_BODY avx512
#define INRES_AVX512 1
#include "kernel_body.h"
#undef INRES_AVX512
#undef INRES_BODY
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace {

// 0: plain, 1: AVX2, 2: AVX-512 with vector popcount.
int processor() {
#ifdef INRES_X86
  static const int level = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vpopcntdq"))
      return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("popcnt"))
      return 1;
    return 0;
  }();
  return level;
#else
  return 0;
#endif
}

// The arrays of a Request.
struct Asked {
  const int64_t* place = nullptr;
  Queries queries;

  explicit Asked(const Request& request) {
    const int64_t q = request.count;
    const char* at = reinterpret_cast<const char*>(&request + 1);
    const auto next = [&](auto*& array, bool given, int64_t size) {
      array = given ? reinterpret_cast<std::remove_reference_t<decltype(array)>>(at) : nullptr;
      if (given) at += size * sizeof(*array);
    };
    next(place, request.place, q * request.m);
    next(queries.codes, true, q * request.segments->words);
    next(queries.features, request.features, q * request.segments->dims);
    next(queries.threshold, request.threshold, q);
    next(queries.own, request.own, q);
    next(queries.only, request.only, q);
    queries.count = q;
    queries.k = request.k;
    queries.plan = request.plan;
  }
};

// Whether squared distances do not overflow, with the limit of checks.finite.
bool finite(const Queries& queries, int64_t dims) {
  const double limit = std::sqrt(1e37 / static_cast<double>(dims)) / 2;
  bool all = true;
  if (queries.features)
    for (int64_t i = 0; i < queries.count * dims; ++i) all &= std::fabs(queries.features[i]) <= limit;
  return all;
}

}  // namespace

#ifdef INRES_X86
#define INRES_CALL(level, function, ...)                    \
  ((level) == 2   ? avx512::function(__VA_ARGS__)           \
   : (level) == 1 ? avx2::function(__VA_ARGS__)             \
                  : plain::function(__VA_ARGS__))
#else
#define INRES_CALL(level, function, ...) plain::function(__VA_ARGS__)
#endif

extern "C" {

// ABI in native.py.
int inres_abi() { return 5; }

// The best instruction set that both this processor and the kernel support.
int inres_level() { return processor(); }

// The first argument of all searches is a Request. They return 0, 1 if there is not enough memory,
// or NOT_FINITE in native.py.
#define INRES_RUN(function, ...)                                                            \
  const Asked asked(*request);                                                              \
  const Queries& queries = asked.queries;                                                   \
  if (!finite(queries, request->segments->dims)) return 2;                                  \
  [[maybe_unused]] const int64_t size = queries.count * queries.k;                          \
  const int level = std::min(static_cast<int>(request->level), processor());                \
  try {                                                                                     \
    INRES_CALL(level, function, request->segments, request->n, queries,                     \
               static_cast<int>(request->threads), __VA_ARGS__);                            \
    return 0;                                                                               \
  } catch (...) {                                                                           \
    return 1;                                                                               \
  }

// search.search. `out`: ids, Hamming and (float) Euclidean distances [Q, k], pool sizes [Q].
int inres_search(const Request* request, int32_t* out) {
  INRES_RUN(search, out, out + size, reinterpret_cast<float*>(out + 2 * size), out + 3 * size)
}

// search.search_hamming. `out`: ids, distances and (int64) places, [Q, k].
int inres_nearest(const Request* request, int32_t* out) {
  INRES_RUN(nearest, out, out + size, reinterpret_cast<int64_t*>(out + 2 * size))
}

// Ranks given items [Q, m] (places, -1: no item) by (distance, id). `out`: ids, Hamming and (float)
// Euclidean distances [Q, k].
int inres_rank(const Request* request, int32_t* out) {
  INRES_RUN(rank_given, asked.place, request->m, out, out + size,
            reinterpret_cast<float*>(out + 2 * size))
}

// The least thresholds [Q] whose pools have at least m items, or all that a query may find.
int inres_widen(const Request* request, int32_t* least) {
  INRES_RUN(widen, request->m, least)
}
}
