// Part of kernel_body.h: finding codes by the buckets of their substrings (buckets.py).
//
// The buckets are visited in steps. Step s visits those of substring s % m whose value differs from
// the query's in exactly s / m bits. After the steps 0 ... r every code within a distance of r has
// been seen, by the pigeonhole principle.

inline uint32_t substring(const Segment& segment, int64_t number, const uint32_t* code,
                          int64_t stride) {
  const int32_t* cut = segment.cuts + 5 * number;
  const uint32_t* word = code + cut[0] * stride;
  uint32_t value = *word >> cut[1] & ((uint32_t{1} << cut[2]) - 1);
  if (cut[4])
    value = value << cut[4] | (word[stride] >> cut[3] & ((uint32_t{1} << cut[4]) - 1));
  return value;
}

// The place of a code in the directory, or of the first one after it.
inline int64_t place_in_directory(const Segment& segment, const uint32_t* code) {
  if (!segment.substrings) return lower_place(segment, code, 0, segment.distinct);
  const uint32_t* bucket = segment.tables + substring(segment, 0, code, 1);
  return lower_place(segment, code, bucket[0], bucket[1]);
}

// The number of values that differ from one of `width` bits in exactly `flips` bits.
inline double values_at(int64_t width, int64_t flips) {
  double n = 1;
  for (int64_t i = 0; i < flips; ++i)
    n *= static_cast<double>(width - i) / static_cast<double>(i + 1);
  return flips > width ? 0 : n;
}

class Prober {
 public:
  Prober(const Segment& segment, const uint32_t* query) : segment_(segment), query_(query) {}

  // Visits the buckets of the steps [first, last) and calls take(code, distance) once for each code
  // that no earlier step has visited and whose distance is at most `radius()`, in any order.
  // Returns false, with codes missing, once more than `budget` buckets and codes were read.
  template <typename Radius, typename Take>
  bool visit(int64_t first, int64_t last, double budget, const Radius& radius, const Take& take) {
    const int64_t m = segment_.substrings;
    const uint32_t end = uint32_t{1} << segment_.width;
    for (int64_t step = first; step < last; ++step) {
      const int64_t flips = step / m, number = step % m;
      if (flips > segment_.width) continue;
      const uint32_t own = substring(segment_, number, query_, 1);
      uint32_t flipped = flips ? (uint32_t{1} << flips) - 1 : 0;
      do {
        values_[waiting_] = own ^ flipped;
        steps_[waiting_] = step;
        __builtin_prefetch(table(number) + values_[waiting_]);
        if (++waiting_ == kWaiting && !read(budget, radius, take)) return false;
        if (flips == 0) break;
        const uint32_t low = flipped & -flipped, up = flipped + low;  // the next with as many bits
        flipped = (((up ^ flipped) >> 2) / low) | up;
      } while (flipped < end);
    }
    return read(budget, radius, take);
  }

 private:
  static constexpr int kWaiting = 32;

  const uint32_t* table(int64_t number) const {
    return segment_.tables + number * ((int64_t{1} << segment_.width) + 1);
  }

  // Reads the waiting buckets in three rounds, so that the memory for all of them is fetched at
  // the same time.
  template <typename Radius, typename Take>
  bool read(double budget, const Radius& radius, const Take& take) {
    const int64_t m = segment_.substrings;
    used_ += waiting_;
    for (int i = 0; i < waiting_; ++i) {
      const int64_t number = steps_[i] % m;
      const uint32_t* bucket = table(number) + values_[i];
      begins_[i] = bucket[0];
      ends_[i] = bucket[1];
      used_ += ends_[i] - begins_[i];
      if (begins_[i] == ends_[i]) continue;
      if (number)
        __builtin_prefetch(segment_.rows + (number - 1) * segment_.distinct + begins_[i]);
      else
        prefetch_code(segment_, begins_[i]);
    }
    if (used_ > budget) return false;
    for (int i = 0; i < waiting_; ++i) {
      const int64_t number = steps_[i] % m;
      const uint32_t* rows = segment_.rows + (number - 1) * segment_.distinct;
      for (uint32_t at = begins_[i]; at < ends_[i]; ++at) {
        codes_[found_] = number ? rows[at] : at;
        of_step_[found_] = steps_[i];
        prefetch_code(segment_, codes_[found_]);
        if (++found_ == kFound) judge(radius, take);
      }
    }
    judge(radius, take);
    waiting_ = 0;
    return true;
  }

  template <typename Radius, typename Take>
  void judge(const Radius& radius, const Take& take) {
    for (int i = 0; i < found_; ++i) {
      const uint32_t distance = distance_of(segment_, query_, codes_[i]);
      if (distance <= radius() && !visited_before(codes_[i], of_step_[i]))
        take(int64_t{codes_[i]}, distance);
    }
    found_ = 0;
  }

  bool visited_before(int64_t code, int64_t step) const {
    const uint32_t* words = code_at(segment_, code);
    for (int64_t number = 0; number < segment_.substrings; ++number) {
      const uint32_t flipped = substring(segment_, number, words, kChunk) ^
                               substring(segment_, number, query_, 1);
      if (__builtin_popcount(flipped) * segment_.substrings + number < step) return true;
    }
    return false;
  }

  static constexpr int kFound = 64;
  const Segment& segment_;
  const uint32_t* query_;
  double used_ = 0;
  int waiting_ = 0, found_ = 0;
  uint32_t values_[kWaiting], begins_[kWaiting], ends_[kWaiting], codes_[kFound];
  int64_t steps_[kWaiting], of_step_[kFound];
};
