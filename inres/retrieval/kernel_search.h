// Part of kernel_body.h: the plans, and the whole searches.

// ---- Plans ---------------------------------------------------------------------------------
//
// A plan decides which codes are read, and changes nothing but the time. `scan` reads all codes
// tile by tile, followed by the rows of each tile, and shares both among queries. `list` reads the
// directory of distinct codes, `buckets` and `descent` some of it; then the rows of the codes found.

// Nanoseconds of one thread, measured by the part `plans` of the benchmark.
constexpr double kScanAlone = 0.05;    // per word of a code that is scanned for one query
constexpr double kScanShared = 0.025;  // the same if several queries share it
constexpr double kScanFar = 0.1;       // the same for one query of codes that no cache holds
constexpr double kScanTile = 25;       // per tile and query
constexpr double kBucket = 7;          // per bucket
constexpr double kProbeNear = 7;       // per code in a bucket if a cache holds the codes
constexpr double kProbeFar = 15;       // and if it does not
constexpr double kOffer = 100;         // per item asked for, if all codes are read for the nearest
constexpr double kBisection = 60;      // per code that is searched for in the directory
constexpr double kReadRow = 40;        // per row of a pool
constexpr double kFarBytes = 1 << 25;  // codes that no cache holds
// The cost of a descent is not known before. It usually takes such a time with one flip, and with
// each further one longer by the factor. It is tried if the other plan takes longer, for that time
// or for a share of the other plan's, whichever is longer. Without flips it is a bisection.
constexpr double kDescentLeast = 12000, kDescentGrows = 4;
constexpr double kDescentShare = 0.4;
constexpr double kOwnStep = 30;        // per step of that bisection
constexpr int64_t kSharing = 4;        // queries that have to share a scan for that to matter
// Longer pools are read tile by tile, by all threads and for all queries of a batch.
constexpr int64_t kLongList = 1 << 15;
constexpr double kReadLong = 20;       // per row of such a pool

// Whether no cache holds the codes.
inline bool is_far(const Segment& s) {
  return 4.0 * static_cast<double>(s.distinct * s.words) > kFarBytes;
}

// Of reading a word of a code for one query.
inline double word_cost(const Segment& s) { return is_far(s) ? kScanFar : kScanAlone; }

inline double list_cost(const Segment& s) {
  return word_cost(s) * static_cast<double>(s.distinct * s.words);
}

// Whether the directory is read first: if it is much smaller than the items, or if so few queries
// would share a scan that it has no advantage but that of using all threads.
inline bool is_listed(const Segment& s, int64_t queries, int threads) {
  if (s.starts && 4 * s.distinct <= s.count) return true;
  return queries < kSharing && (threads == 1 || list_cost(s) < kWorthThreads);
}

// `queries` is the number of queries that share a scan.
inline double scan_cost(const Segment& s, int64_t queries) {
  const double word = queries < kSharing ? word_cost(s) : kScanShared;
  const int64_t tiles = s.count / kTile + 1;
  // Each tile of items begins and ends within a chunk of codes.
  const int64_t codes = std::min(s.distinct + kChunk * tiles, s.count);
  return kScanTile * static_cast<double>(tiles) + word * static_cast<double>(codes * s.words);
}

inline double probe_cost(const Segment& s) {
  return is_far(s) ? kProbeFar : kProbeNear;
}

// The codes in the query's own buckets, which the first steps visit.
inline double own_codes(const Segment& s, const uint32_t* query) {
  double codes = 0;
  for (int64_t number = 0; number < s.substrings; ++number) {
    const uint32_t* bucket = s.tables + number * ((int64_t{1} << s.width) + 1) +
                             substring(s, number, query, 1);
    codes += bucket[1] - bucket[0];
  }
  return codes;
}

// The expected time of the steps [first, last). Other buckets are taken to hold as many codes as an
// average one and a tenth of the query's own, which are the fullest if codes are clustered.
inline double step_cost(const Segment& s, double own, int64_t first, int64_t last) {
  const double m = static_cast<double>(s.substrings);
  const double mean = static_cast<double>(s.distinct) / static_cast<double>(int64_t{1} << s.width);
  double buckets = 0;
  for (int64_t step = first; step < last && buckets < 1e12; ++step)
    buckets += values_at(s.width, step / s.substrings);
  const double exact = static_cast<double>(std::max<int64_t>(
      0, std::min(last, s.substrings) - std::min(first, s.substrings)));
  const double codes = exact * own / m + (buckets - exact) * (mean + 0.1 * own / m);
  return buckets * kBucket + codes * probe_cost(s);
}

// The codes of a pool, ascending; found by reading the directory.
inline void list_codes(const Segment& s, const uint32_t* query, uint32_t limit,
                       std::vector<uint32_t>& codes) {
  alignas(64) uint16_t mask[kChunks + 4] = {};
  const int64_t chunks = (s.distinct + kChunk - 1) / kChunk;
  for (int64_t c = 0; c < chunks; c += kChunks) {
    const int64_t n = std::min<int64_t>(kChunks, chunks - c);
    if (!mask_chunks(s.codes + c * s.words * kChunk, n, query, s.words, limit, mask)) continue;
    std::fill(mask + n, mask + kChunks, uint16_t{0});
    each_bit(mask, n, [&](int64_t i) {
      const int64_t code = c * kChunk + i;
      if (code < s.distinct) codes.push_back(static_cast<uint32_t>(code));
    });
  }
}

struct Choice {
  Plan plan;
  Plan otherwise;      // if buckets turn out to be more expensive
  double nanoseconds;  // to find the codes; 0 for a scan, which finds them by the way
  double budget;       // of a plan by buckets, in buckets and codes
  double descent = 0;  // nanoseconds for a descent before that; 0: none
};

// Adds a descent to a choice that takes some nanoseconds, if it is worth trying.
inline Choice with_descent(const Segment& s, Choice choice, int32_t threshold, double nanoseconds) {
  const double usual = threshold <= 1 ? kOwnStep * std::log2(static_cast<double>(s.distinct) + 1)
                                      : kDescentLeast * std::pow(kDescentGrows, threshold - 2);
  if (nanoseconds > usual) choice.descent = std::max(usual, kDescentShare * nanoseconds);
  return choice;
}

// The plan for one query of `shared` that a scan would answer together.
inline Choice choose(const Segment& s, const uint32_t* query, int32_t threshold, int64_t plan,
                     int64_t shared, int threads) {
  const double unlimited = std::numeric_limits<double>::infinity();
  const Choice list{kList, kList, list_cost(s), 0}, scan{kScan, kScan, 0, 0};
  if (plan == kScan) return scan;
  if (plan == kDescent) return {kList, kList, kDescentLeast, 0, unlimited};
  if (plan == kList || (plan == kBuckets && !s.substrings)) return list;
  if (plan == kBuckets) return {kBuckets, kList, step_cost(s, 1, 0, threshold), unlimited};
  const bool listed = is_listed(s, shared, threads);
  const double other = listed ? list_cost(s) : scan_cost(s, shared);
  const double least = step_cost(s, 0, 0, threshold);
  if (s.substrings && least < other) {
    const double expected = step_cost(s, own_codes(s, query), 0, threshold);
    if (expected < other) {
      const Choice buckets{kBuckets, listed ? kList : kScan, expected, other / probe_cost(s)};
      return with_descent(s, buckets, threshold, expected);
    }
  }
  return with_descent(s, listed ? list : scan, threshold, other);
}

// The codes of a pool, ascending; false: the segment is to be scanned.
inline bool find_codes(const Segment& s, const uint32_t* query, int32_t threshold,
                       const Choice& choice, std::vector<uint32_t>& codes) {
  codes.clear();
  if (threshold <= 0) return true;
  if (choice.descent > 0) {
    Descent descent(s, query, static_cast<uint32_t>(threshold - 1), choice.descent);
    if (descent.find(codes)) return true;
    codes.clear();
  }
  if (choice.plan == kBuckets) {
    const uint32_t radius = static_cast<uint32_t>(threshold - 1);
    Prober prober(s, query);
    const bool all = prober.visit(0, threshold, choice.budget, [&] { return radius; },
                                  [&](int64_t code, uint32_t) {
                                    codes.push_back(static_cast<uint32_t>(code));
                                  });
    if (all) {
      std::sort(codes.begin(), codes.end());
      return true;
    }
    codes.clear();
  }
  if (choice.otherwise == kScan) return false;
  list_codes(s, query, static_cast<uint32_t>(threshold), codes);
  return true;
}

inline int64_t items_of(const Segment& s, const std::vector<uint32_t>& codes) {
  if (!s.starts) return static_cast<int64_t>(codes.size());
  int64_t n = 0;
  for (const uint32_t code : codes) n += s.starts[code + 1] - s.starts[code];
  return n;
}

// ---- Two stages ----------------------------------------------------------------------------

// Ranks the items of a list of codes for one query.
inline void rank_codes(Reader& reader, const Queries& queries, int64_t q,
                       const std::vector<uint32_t>& codes, Search& search, Pending& pending) {
  const Segment& s = reader.segment;
  const Sight sight(s, queries, q);
  const bool all = sight.all();
  std::vector<int32_t> positions;
  positions.reserve(items_of(s, codes));
  for (const uint32_t code : codes) {
    const int64_t end = first_item(s, int64_t{code} + 1);
    for (int64_t i = first_item(s, code); i < end; ++i)
      if (all || !sight.hides(i)) positions.push_back(static_cast<int32_t>(i));
  }
  const int64_t n = static_cast<int64_t>(positions.size());
  search.pool += n;
  const float* query = queries.features + q * s.dims;
  uint16_t places[kTile];
  for (int64_t i = 0; i < n;) {
    const int64_t tile = positions[i] / kTile;
    int64_t end = i;
    while (end < n && positions[end] / kTile == tile) ++end;
    if (end - i < kFew) {
      reader.read(query, search, 0, positions.data() + i, end - i, n - i);
    } else {
      for (int64_t j = i; j < end; ++j)
        places[j - i] = static_cast<uint16_t>(positions[j] - tile * kTile);
      pending.add(reader, tile, query, search, places, end - i);
      pending.flush(reader, tile);
    }
    i = end;
  }
}

// One query of a scan.
struct Scanned {
  int64_t query;
  Search* search;
};

// Searches one tile of rows for some queries; `hint` is a code before it.
inline void scan_tile(Reader& reader, const Queries& queries, int64_t t, const Scanned* scanned,
                      int64_t n_scanned, int64_t& hint, Pending& pending) {
  const Segment& s = reader.segment;
  const int64_t first = t * kTile, inside = std::min(kTile, s.count - first);
  const int64_t low = code_of(s, first, hint);
  const int64_t high = code_of(s, first + inside - 1, low);
  hint = high;
  const int64_t chunk = low / kChunk, chunks = high / kChunk - chunk + 1;
  alignas(64) uint16_t mask[kChunks + 8] = {};
  uint16_t places[kTile];
  for (int64_t i = 0; i < n_scanned; ++i) {
    const int64_t q = scanned[i].query;
    const uint32_t* code = queries.codes + q * s.words;
    if (!mask_chunks(s.codes + chunk * s.words * kChunk, chunks, code, s.words,
                     static_cast<uint32_t>(queries.threshold[q]), mask))
      continue;
    int64_t n = 0;
    if (s.starts) {
      each_bit(mask, chunks, [&](int64_t bit) {
        const int64_t found = chunk * kChunk + bit;
        if (found < low || found > high) return;
        const int64_t begin = std::max<int64_t>(s.starts[found] - first, 0);
        const int64_t end = std::min<int64_t>(s.starts[found + 1] - first, inside);
        for (int64_t place = begin; place < end; ++place) places[n++] = static_cast<uint16_t>(place);
      });
    } else {
      each_bit(mask, chunks, [&](int64_t bit) { places[n++] = static_cast<uint16_t>(bit); });
      while (n && places[n - 1] >= inside) --n;
    }
    const Sight sight(s, queries, q);
    if (!sight.all()) {
      int64_t kept = 0;
      for (int64_t j = 0; j < n; ++j) {
        places[kept] = places[j];
        kept += !sight.hides(first + places[j]);
      }
      n = kept;
    }
    if (n == 0) continue;
    scanned[i].search->pool += n;
    pending.add(reader, t, queries.features + q * s.dims, *scanned[i].search, places, n);
  }
  pending.flush(reader, t);
}

// Searches all tiles of a segment for some queries.
inline void scan(const Segment& segment, int64_t number, const Queries& queries,
                 const std::vector<Scanned>& scanned, int threads) {
  const int64_t tiles = (segment.count + kTile - 1) / kTile;
  const int64_t n = static_cast<int64_t>(scanned.size());
  if (n >= 4 * threads) {
    threads = worth_starting(threads, tiles * n);
    const int64_t share = ((n + threads - 1) / threads + 3) / 4 * 4;
    run_on(threads, threads, [&](int64_t part) {
      const int64_t first = std::min(part * share, n), last = std::min(first + share, n);
      if (first == last) return;
      Reader reader(segment, number);
      Pending pending;
      int64_t hint = 0;
      for (int64_t t = 0; t < tiles; ++t)
        scan_tile(reader, queries, t, scanned.data() + first, last - first, hint, pending);
    });
    return;
  }
  // All threads search for every query, and tell each other the K-th distance so far.
  struct Part {
    Reader reader;
    Pending pending;
    std::vector<Search> searches;
    std::vector<Scanned> scanned;
    int64_t tile = 0, hint = 0;
  };
  std::vector<Shared> shared(n);
  std::vector<Part> parts;
  for (int thread = 0; thread < threads; ++thread) {
    parts.push_back({Reader(segment, number), {}, {}, {}});
    for (int64_t i = 0; i < n; ++i) {
      parts[thread].searches.push_back(thread ? Search{{scanned[i].search->best.k, {}}} : *scanned[i].search);
      parts[thread].searches[i].shared = &shared[i];
    }
  }
  for (Part& part : parts)
    for (int64_t i = 0; i < n; ++i) part.scanned.push_back({scanned[i].query, &part.searches[i]});
  const int took_part = share_out(threads, tiles, [&](int thread, int64_t t) {
    Part& part = parts[thread];
    if (t < part.tile) part.hint = 0;
    part.tile = t;
    scan_tile(part.reader, queries, t, part.scanned.data(), n, part.hint, part.pending);
  });
  for (int64_t i = 0; i < n; ++i) {
    Search& all = *scanned[i].search;
    all = std::move(parts[0].searches[i]);
    all.shared = nullptr;
    for (int thread = 1; thread < took_part; ++thread) {
      all.pool += parts[thread].searches[i].pool;
      for (const Found& found : parts[thread].searches[i].best.rows)
        all.best.offer(found.key, found.place);
    }
  }
}

inline const Segment& segment_of(const Segment* segments, int64_t place) {
  return segments[place >> kSegmentShift];
}

inline int64_t position_of(int64_t place) {
  return place & ((int64_t{1} << kSegmentShift) - 1);
}

inline void write_ranking(const Segment* segments, const Queries& queries, int64_t q, Best& best,
                          int32_t* ids, int32_t* hamming, float* distance) {
  std::vector<Found>& rows = best.rows;
  std::sort(rows.begin(), rows.end());
  const int64_t n = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < queries.k; ++i) {
    const int64_t out = q * queries.k + i;
    if (i < n) {
      const Segment& s = segment_of(segments, rows[i].place);
      const int64_t code = code_of(s, position_of(rows[i].place));
      ids[out] = static_cast<int32_t>(rows[i].key & 0xffffffffu);
      hamming[out] = static_cast<int32_t>(distance_of(s, queries.codes + q * s.words, code));
      distance[out] = std::sqrt(square_of(rows[i].key));
    } else {
      ids[out] = hamming[out] = -1;
      distance[out] = std::numeric_limits<float>::infinity();
    }
  }
}

// The number of results that there can be.
inline size_t most_of(const Segment* segments, int64_t n, int64_t k) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += segments[i].count;
  return static_cast<size_t>(std::min(k, std::max<int64_t>(count, 1)));
}

// The longest pool whose rows are read by one thread, once its codes are found. A scan reads all
// codes for as many rows, but with all threads, and shares rows among the queries of a batch.
inline double longest_list(const Segment& s, int64_t queries, int threads) {
  if (queries >= kSharing) return kLongList;
  if (threads == 1) return std::numeric_limits<double>::infinity();
  return std::max<double>(kLongList, scan_cost(s, queries) / (kReadLong * (threads - 1)));
}

// The queries [first, last) of `search`.
inline void search_some(const Segment* segments, int64_t n, const Queries& queries, int threads,
                        int64_t first, int64_t last, std::vector<Search>& searches) {
  std::vector<std::vector<uint32_t>> codes(last - first);
  std::vector<int64_t> listed;
  std::vector<Scanned> scanned;
  for (int64_t number = 0; number < n; ++number) {
    const Segment& s = segments[number];
    if (s.count == 0) continue;
    listed.clear();
    scanned.clear();
    std::vector<char> found(last - first);
    std::vector<Choice> choices;
    double finding = 0;
    for (int64_t q = first; q < last; ++q) {
      choices.push_back(choose(s, queries.codes + q * s.words, queries.threshold[q], queries.plan,
                               last - first, threads));
      finding += choices.back().nanoseconds;
    }
    run_on(finding > kWorthThreads ? threads : 1, last - first, [&](int64_t i) {
      const int64_t q = first + i;
      found[i] = find_codes(s, queries.codes + q * s.words, queries.threshold[q], choices[i],
                            codes[i]);
    });
    const double longest = longest_list(s, last - first, threads);
    double rows = 0;
    for (int64_t i = 0; i < last - first; ++i) {
      const int64_t pool = found[i] ? items_of(s, codes[i]) : 0;
      if (found[i] && (static_cast<double>(pool) <= longest || queries.plan >= kList)) {
        listed.push_back(i);
        rows += static_cast<double>(pool);
      } else {
        scanned.push_back({first + i, &searches[first + i]});
      }
    }
    const int helpers = rows * kReadRow > kWorthThreads ? threads : 1;
    const int64_t shares = std::min<int64_t>(helpers, static_cast<int64_t>(listed.size()));
    run_on(helpers, shares, [&](int64_t share) {
      Reader reader(s, number);
      Pending pending;
      for (size_t i = share; i < listed.size(); i += shares) {
        const int64_t q = first + listed[i];
        rank_codes(reader, queries, q, codes[listed[i]], searches[q], pending);
      }
    });
    if (!scanned.empty()) scan(s, number, queries, scanned, threads);
  }
}

void search(const Segment* segments, int64_t n, const Queries& queries, int threads, int32_t* ids,
            int32_t* hamming, float* distance, int32_t* pool) {
  constexpr int64_t kTogether = 256;  // limits the memory for lists of codes
  std::vector<Search> searches(queries.count);
  for (Search& s : searches) s.best.k = most_of(segments, n, queries.k);
  for (int64_t first = 0; first < queries.count; first += kTogether) {
    const int64_t last = std::min(first + kTogether, queries.count);
    search_some(segments, n, queries, threads, first, last, searches);
    for (int64_t q = first; q < last; ++q) {
      pool[q] = static_cast<int32_t>(searches[q].pool);
      write_ranking(segments, queries, q, searches[q].best, ids, hamming, distance);
      searches[q].best.rows = {};
    }
  }
}

// ---- Hamming distance alone ----------------------------------------------------------------

// The K nearest codes so far, and some that wait for being compared. The ids, which order equal
// distances, are read as late as possible, since each is somewhere else in memory.
class Near {
 public:
  Near(const Segment* segments, size_t k)
      : segments_(segments), k_(k), counts_(32 * segments->words + 1), radius_(counts_.size()) {}
  size_t k() const { return k_; }
  // The largest distance that can be among the K nearest.
  uint32_t radius() const { return radius_; }
  void offer(uint32_t distance, int64_t place) {
    rows_.push_back({uint64_t{distance} << 32 | kUnread, place});
    if (distance < radius_) {
      ++counts_[distance];
      for (++nearer_; nearer_ >= k_;) nearer_ -= counts_[--radius_];
    }
    if (rows_.size() >= wait_) settle();
  }
  // There are K codes that are no farther than `distance`.
  void lower(uint32_t distance) {
    while (radius_ > distance) nearer_ -= counts_[--radius_];
  }
  // The items found so far, by distances below `end`.
  std::vector<int64_t> counted(int64_t end) const {
    std::vector<int64_t> counts(end);
    for (const Found& found : rows_)
      if (static_cast<int64_t>(found.key >> 32) < end) ++counts[found.key >> 32];
    return counts;
  }
  // Drops what is not among the K nearest; returns whether there are K.
  bool settle() {
    if (rows_.size() < k_) return false;
    const auto far = [&](const Found& found) { return found.key >> 32 > radius_; };
    rows_.erase(std::remove_if(rows_.begin(), rows_.end(), far), rows_.end());
    if (rows_.size() > 2 * k_) keep_first();
    wait_ = 2 * rows_.size() + 32;
    return true;
  }
  // The K nearest, in order.
  const std::vector<Found>& sorted() {
    if (settle()) keep_first();
    read_ids();
    std::sort(rows_.begin(), rows_.end());
    return rows_;
  }
  void clear() { rows_.clear(); }
  void add(const Near& other) { rows_.insert(rows_.end(), other.rows_.begin(), other.rows_.end()); }

 private:
  static constexpr uint64_t kUnread = 0xffffffffu;

  void read_ids() {
    for (Found& found : rows_)
      if ((found.key & kUnread) == kUnread) {
        const Segment& s = segment_of(segments_, found.place);
        const uint32_t id = static_cast<uint32_t>(s.ids[position_of(found.place)]);
        found.key = (found.key & ~kUnread) | id;
      }
  }
  void keep_first() {
    if (rows_.size() <= k_) return;
    read_ids();
    std::nth_element(rows_.begin(), rows_.begin() + (k_ - 1), rows_.end());
    rows_.resize(k_);
  }

  const Segment* segments_;
  size_t k_;
  size_t wait_ = 2 * k_ + 32;
  std::vector<uint32_t> counts_;  // of codes by distance, as far as these are below the radius
  size_t nearer_ = 0;             // codes below the radius, fewer than K
  uint32_t radius_;
  std::vector<Found> rows_;
};

// Offers the items of one code, whose ids ascend.
inline void offer_code(const Segment& s, int64_t number, const Sight& sight, bool all, int64_t code,
                       uint32_t distance, Near& best) {
  const int64_t end = first_item(s, code + 1);
  int64_t left = static_cast<int64_t>(best.k());  // more of one code are never needed
  for (int64_t i = first_item(s, code); i < end && left; ++i) {
    if (!all && sight.hides(i)) continue;
    best.offer(distance, place_of(number, i));
    --left;
  }
}

// Lowers the limit of one query to a distance below which a sample of the codes has at least K: the
// codes around the query's own place, where a query of a cluster finds its like, and others.
inline void sample_limit(const Segment& s, const Queries& queries, int64_t q, Near& best) {
  if (!Sight(s, queries, q).all()) return;
  constexpr uint32_t kFar = 512;  // larger distances are counted as this
  constexpr int64_t kSampled = 64;
  const uint32_t* query = queries.codes + q * s.words;
  uint32_t distance[kChunk], counts[kFar + 1] = {};
  const auto count = [&](int64_t chunk) {
    distances_of(s.codes + chunk * s.words * kChunk, 1, query, s.words, distance);
    for (const uint32_t d : distance) ++counts[std::min(d, kFar)];
  };
  const int64_t chunks = s.distinct / kChunk;
  const int64_t own = place_in_directory(s, query) / kChunk;
  const int64_t first = std::max<int64_t>(0, std::min(own - kSampled / 2, chunks - kSampled));
  const int64_t last = std::min(chunks, first + kSampled);
  for (int64_t chunk = first; chunk < last; ++chunk) count(chunk);
  const int64_t others = std::min<int64_t>(chunks, kSampled);
  for (int64_t i = 0; i < others; ++i) {
    const int64_t chunk = i * chunks / others;
    if (chunk < first || chunk >= last) count(chunk);
  }
  size_t total = 0;
  for (uint32_t d = 0; d < kFar; ++d)
    if ((total += counts[d]) >= best.k()) return best.lower(d);
}

// Offers the codes of one tile of the directory to one query.
inline void scan_codes(const Segment& s, int64_t number, const Queries& queries, int64_t t,
                       int64_t q, Near& best) {
  const int64_t first = t * kTile, inside = std::min(kTile, s.distinct - first);
  const int64_t chunks = (inside + kChunk - 1) / kChunk;
  const uint32_t* codes = s.codes + first * s.words;
  const uint32_t* query = queries.codes + q * s.words;
  const Sight sight(s, queries, q);
  const bool all = sight.all();
  alignas(64) uint16_t mask[kChunks + 4] = {};
  if (!mask_chunks(codes, chunks, query, s.words, best.radius() + 1, mask)) return;
  each_bit(mask, chunks, [&](int64_t bit) {
    if (bit >= inside) return;
    const uint32_t distance = distance_of(s, query, first + bit);
    if (distance <= best.radius())
      offer_code(s, number, sight, all, first + bit, distance, best);
  });
}

// The share of the codes at a distance that `steps` steps visit: all but those with more different
// bits in every substring than these steps allow, if each bit is equally likely to differ.
inline double visited_share(const Segment& s, int64_t distance, int64_t steps) {
  const double inside = static_cast<double>(s.width) / static_cast<double>(32 * s.words);
  double missed = 1;
  for (int64_t number = 0; number < std::min(steps, s.substrings); ++number) {
    const int64_t flips = (steps - 1 - number) / s.substrings;
    double few = 0, term = std::pow(1 - inside, static_cast<double>(distance));
    for (int64_t i = 0; i <= std::min(flips, distance); ++i) {
      few += term;
      term *= inside / (1 - inside) * static_cast<double>(distance - i) / static_cast<double>(i + 1);
    }
    missed *= 1 - few;
  }
  return 1 - missed;
}

// How many items are nearer than `distance`, judged by those that the first steps have found.
inline double expected_within(const Segment& s, const Near& best, int64_t distance,
                              int64_t steps) {
  double expected = 0;
  const std::vector<int64_t> counts = best.counted(distance);
  for (int64_t d = 0; d < distance; ++d)
    if (counts[d]) expected += static_cast<double>(counts[d]) / visited_share(s, d, steps);
  return expected;
}

// Offers the query's own code and those that differ from it in one bit, each of them found by
// bisection. Returns whether no other can be among the K nearest; if not, `best` stays as it was.
inline bool offer_adjacent(const Segment& s, int64_t number, const Queries& queries, int64_t q,
                           bool flip, Near& best) {
  const Near before = best;
  const Sight sight(s, queries, q);
  const bool all = sight.all();
  std::vector<uint32_t> code(queries.codes + q * s.words, queries.codes + (q + 1) * s.words);
  const auto offer = [&](uint32_t distance) {
    const int64_t place = place_in_directory(s, code.data());
    if (place < s.distinct && distance_of(s, code.data(), place) == 0)
      offer_code(s, number, sight, all, place, distance, best);
  };
  offer(0);
  if (best.settle() && best.radius() == 0) return true;
  for (int64_t w = 0; flip && w < s.words; ++w)
    for (uint32_t bit = 1; bit; bit <<= 1) {
      code[w] ^= bit;
      offer(1);
      code[w] ^= bit;
    }
  if (flip && best.settle() && best.radius() <= 1) return true;
  best = before;
  return false;
}

// Offers the nearest codes of a segment by their buckets, if that is expected to be faster than
// reading all codes; otherwise returns false and leaves `best` as it was.
inline bool probe_nearest(const Segment& s, int64_t number, const Queries& queries, int64_t q,
                          Near& best) {
  if (!s.substrings || queries.plan == kScan || queries.plan == kList) return false;
  const bool forced = queries.plan == kBuckets;
  const uint32_t* code = queries.codes + q * s.words;
  const double most = forced ? std::numeric_limits<double>::infinity()
                             : list_cost(s) + kOffer * static_cast<double>(best.k());
  const int64_t steps = 32 * s.words + s.substrings + 1;
  const double own = own_codes(s, code);
  int64_t reach = s.substrings;  // steps that are worth their time
  double spent = step_cost(s, own, 0, reach);
  const double adjacent = kBisection * static_cast<double>(32 * s.words);
  const bool flip = forced || std::min(spent, most) > 2 * adjacent;
  if (offer_adjacent(s, number, queries, q, flip, best)) return true;
  if (spent > most) return false;
  while (reach < steps && spent < most) {
    spent += step_cost(s, own, reach, reach + 1);
    ++reach;
  }
  const Near before = best;
  const Sight sight(s, queries, q);
  const bool all = sight.all();
  Prober prober(s, code);
  for (int64_t step = 0; step < steps;) {
    const int64_t next = step ? step + 1 : s.substrings;
    const bool done =
        next <= reach &&
        prober.visit(step, next, most / probe_cost(s), [&] { return best.radius(); },
                     [&](int64_t code, uint32_t distance) {
                       offer_code(s, number, sight, all, code, distance, best);
                     });
    if (!done) {
      best = before;
      return false;
    }
    step = next;
    if (best.settle() && int64_t{best.radius()} < step) return true;
    if (!forced && expected_within(s, best, reach, step) < static_cast<double>(best.k())) {
      best = before;
      return false;
    }
  }
  return true;
}

inline void write_nearest(const Queries& queries, int64_t q, Near& best, int32_t* ids,
                          int32_t* hamming, int64_t* place) {
  const std::vector<Found>& rows = best.sorted();
  const int64_t n = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < queries.k; ++i) {
    const int64_t out = q * queries.k + i;
    ids[out] = hamming[out] = -1;
    place[out] = -1;
    if (i >= n) continue;
    ids[out] = static_cast<int32_t>(rows[i].key & 0xffffffffu);
    hamming[out] = static_cast<int32_t>(rows[i].key >> 32);
    place[out] = rows[i].place;
  }
}

void nearest(const Segment* segments, int64_t n, const Queries& queries, int threads, int32_t* ids,
             int32_t* hamming, int64_t* place) {
  const Near fresh(segments, most_of(segments, n, queries.k));
  std::vector<Near> best(queries.count, fresh);
  std::vector<char> done(queries.count);
  std::vector<int64_t> rest;
  for (int64_t number = 0; number < n; ++number) {
    const Segment& s = segments[number];
    if (s.count == 0) continue;
    const int64_t tiles = (s.distinct + kTile - 1) / kTile;
    // The time is not known in advance; a part of the queries tells.
    const int64_t some = std::min<int64_t>(queries.count, 8);
    const auto begin = std::chrono::steady_clock::now();
    const auto probe = [&](int64_t q) {
      done[q] = probe_nearest(s, number, queries, q, best[q]);
    };
    for (int64_t q = 0; q < some; ++q) probe(q);
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
    const double left_over = taken.count() * static_cast<double>(queries.count - some) / 8;
    run_on(left_over > kWorthThreads ? threads : 1, queries.count - some,
           [&](int64_t i) { probe(some + i); });
    rest.clear();
    for (int64_t q = 0; q < queries.count; ++q)
      if (!done[q]) rest.push_back(q);
    const int64_t left = static_cast<int64_t>(rest.size());
    if (left == 0) continue;
    if (left >= 4 * threads) {
      const int started = worth_starting(threads, tiles * left);
      const int64_t share = (left + started - 1) / started;
      run_on(started, started, [&](int64_t part) {
        const int64_t last = std::min((part + 1) * share, left);
        for (int64_t i = part * share; i < last; ++i)
          sample_limit(s, queries, rest[i], best[rest[i]]);
        for (int64_t t = 0; t < tiles; ++t)
          for (int64_t i = part * share; i < last; ++i)
            scan_codes(s, number, queries, t, rest[i], best[rest[i]]);
      });
      continue;
    }
    std::vector<std::vector<Near>> parts(threads, std::vector<Near>(left, fresh));
    for (int64_t i = 0; i < left; ++i) {
      sample_limit(s, queries, rest[i], best[rest[i]]);
      for (std::vector<Near>& part : parts) part[i] = best[rest[i]];
      for (int thread = 1; thread < threads; ++thread) parts[thread][i].clear();
    }
    const int took_part = share_out(threads, tiles, [&](int thread, int64_t t) {
      for (int64_t i = 0; i < left; ++i)
        scan_codes(s, number, queries, t, rest[i], parts[thread][i]);
    });
    for (int64_t i = 0; i < left; ++i) {
      Near& all = best[rest[i]];
      all = std::move(parts[0][i]);
      for (int thread = 1; thread < took_part; ++thread)
        all.add(parts[thread][i]);
    }
  }
  for (int64_t q = 0; q < queries.count; ++q)
    write_nearest(queries, q, best[q], ids, hamming, place);
}

// ---- Thresholds for a least pool -----------------------------------------------------------

void widen(const Segment* segments, int64_t n, const Queries& queries, int threads, int64_t m,
           int32_t* threshold) {
  double codes = 0;
  for (int64_t number = 0; number < n; ++number) codes += static_cast<double>(segments[number].distinct);
  const bool many = codes * static_cast<double>(queries.count) > kWorthThreads;
  run_on(many ? threads : 1, queries.count, [&](int64_t q) {
    // Items by distance, from 0 to the length of the codes.
    std::vector<int64_t> counts(n ? 32 * segments[0].words + 1 : 1);
    uint32_t distance[kTile];
    for (int64_t number = 0; number < n; ++number) {
      const Segment& s = segments[number];
      const Sight sight(s, queries, q);
      const bool all = sight.all();
      for (int64_t first = 0; first < s.distinct; first += kTile) {
        const int64_t inside = std::min(kTile, s.distinct - first);
        distances_of(s.codes + first * s.words, (inside + kChunk - 1) / kChunk,
                     queries.codes + q * s.words, s.words, distance);
        for (int64_t i = 0; i < inside; ++i) {
          const int64_t begin = first_item(s, first + i), end = first_item(s, first + i + 1);
          int64_t visible = end - begin;
          if (!all)
            for (int64_t item = begin; item < end; ++item) visible -= sight.hides(item);
          counts[distance[i]] += visible;
        }
      }
    }
    int64_t inside = 0;
    threshold[q] = 0;
    for (size_t d = 0; d < counts.size() && inside < m; ++d) {
      inside += counts[d];
      if (counts[d]) threshold[q] = static_cast<int32_t>(d) + 1;
    }
  });
}

// ---- Ranking of given items ----------------------------------------------------------------

void rank_given(const Segment* segments, int64_t n, const Queries& queries, int threads,
                const int64_t* place, int64_t m, int32_t* ids, int32_t* hamming, float* distance) {
  threads = worth_starting(threads, queries.count * m / 2);
  run_on(threads, queries.count, [&](int64_t q) {
    Best best;
    best.k = static_cast<size_t>(std::min(queries.k, std::max<int64_t>(m, 1)));
    std::vector<Rows> rows;
    for (int64_t number = 0; number < n; ++number) rows.emplace_back(segments[number]);
    for (int64_t i = 0; i < m; ++i) {
      const int64_t which = place[q * m + i];
      if (which < 0) continue;
      const Segment& s = segment_of(segments, which);
      const int64_t position = position_of(which);
      const float* query = queries.features + q * s.dims;
      const float* row = rows[which >> kSegmentShift].at(position);
      best.offer(key_of(squared_distance(query, row, s.dims), s.ids[position]), which);
    }
    write_ranking(segments, queries, q, best, ids, hamming, distance);
  });
}
