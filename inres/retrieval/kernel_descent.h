// Part of kernel_body.h: finding codes by descending their order.
//
// Codes are sorted, so those that begin alike lie together. A descent goes to the first bit in which
// the codes of a range differ and divides them there, until few are left. It leaves a range as soon
// as its common beginning differs from the query in too many bits. Its time depends on how many
// beginnings exist near the query, not on how many codes share a substring with it, which are many
// where codes are clustered.

class Descent {
 public:
  // Stops after `budget` nanoseconds, estimated.
  Descent(const Segment& segment, const uint32_t* query, uint32_t radius, double budget)
      : segment_(segment), query_(query), radius_(radius), budget_(budget),
        target_(segment.words) {}

  // Appends the codes within the radius, ascending; false, with codes missing, if it was stopped.
  bool find(std::vector<uint32_t>& codes) {
    return descend(0, segment_.distinct, 0, radius_, codes);
  }

 private:
  static constexpr int64_t kFew = 16;          // codes that are compared one by one
  static constexpr double kRange = 30;         // nanoseconds per range
  static constexpr double kHalving = 6;        // per step of a bisection
  static constexpr double kCompared = 4;       // per code compared

  // The codes [first, last), which differ from the query in all but `left` flips before `bit`.
  bool descend(int64_t first, int64_t last, int64_t bit, uint32_t left,
               std::vector<uint32_t>& codes) {
    const int64_t n = last - first;
    budget_ -= kRange;
    if (n <= kFew) {
      budget_ -= kCompared * static_cast<double>(n);
      for (int64_t code = first; code < last; ++code)
        if (distance_of(segment_, query_, code) <= radius_)
          codes.push_back(static_cast<uint32_t>(code));
      return budget_ > 0;
    }
    budget_ -= kHalving * (64 - __builtin_clzll(static_cast<uint64_t>(n)));
    if (budget_ < 0) return false;
    const uint32_t *low = code_at(segment_, first), *high = code_at(segment_, last - 1);
    int64_t w = bit / 32;
    uint32_t rest = ~uint32_t{0} >> bit % 32, differ = 0;  // bits of word w that may differ; that do
    for (; w < segment_.words; ++w, rest = ~uint32_t{0}) {
      differ = (low[w * kChunk] ^ high[w * kChunk]) & rest;
      // The common bits, all of the word's or those above the first that differs.
      const uint32_t common = differ ? rest & ~below(differ) : rest;
      const uint32_t flips = static_cast<uint32_t>(
          __builtin_popcount((low[w * kChunk] ^ query_[w]) & common));
      if (flips > left) return true;
      left -= flips;
      if (differ) break;
    }
    if (!differ) return false;  // in a damaged index alone
    if (left == 0) {
      for (int64_t v = 0; v < segment_.words; ++v)
        target_[v] = v < w ? low[v * kChunk] : query_[v];
      const uint32_t open = below(differ);
      target_[w] = (low[w * kChunk] & ~open) | (query_[w] & open);
      const int64_t code = lower_place(segment_, target_.data(), first, last);
      if (code < last && distance_of(segment_, target_.data(), code) == 0)
        codes.push_back(static_cast<uint32_t>(code));
      return true;
    }
    const uint32_t mask = (below(differ) >> 1) + 1;
    int64_t middle = first + 1, end = last - 1;  // the lowest code lacks the bit, the highest has it
    while (middle < end) {
      const int64_t half = middle + (end - middle) / 2;
      if (code_at(segment_, half)[w * kChunk] & mask) end = half;
      else middle = half + 1;
    }
    const int64_t next = 32 * w + __builtin_clz(differ) + 1;
    const uint32_t flip = query_[w] & mask ? 1 : 0;
    return descend(first, middle, next, left - flip, codes) &&
           descend(middle, last, next, left - (1 - flip), codes);
  }

  // The highest bit that is set and all below it.
  static uint32_t below(uint32_t x) { return ~uint32_t{0} >> __builtin_clz(x); }

  const Segment& segment_;
  const uint32_t* query_;
  const uint32_t radius_;
  double budget_;
  std::vector<uint32_t> target_;
};
