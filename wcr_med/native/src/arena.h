// Memory for feature maps, kept between runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace wcr {

// Aligned to a huge page, of which it asks the system for some: maps are read in many places at once.
class Arena {
 public:
  Arena() = default;
  explicit Arena(size_t bytes) : bytes_(round_up(bytes)) {
    data_ = static_cast<char*>(std::aligned_alloc(alignment(bytes), bytes_));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    if (bytes_ >= kHugePage) madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
  }
  Arena(Arena&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Arena() { std::free(data_); }
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20, kPage = 4096;
  static size_t alignment(size_t bytes) { return bytes >= kHugePage / 16 ? kHugePage : kPage; }
  static size_t round_up(size_t bytes) {
    const size_t unit = alignment(bytes);
    return (bytes + unit - 1) / unit * unit + (bytes == 0) * unit;
  }
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

// Arenas that are not in use. Safe for several threads.
class ArenaPool {
 public:
  ArenaPool() { free_.reserve(kMost); }  // so that give() does not throw
  Arena take(size_t bytes) {
    Arena outgrown;  // released below, outside the lock
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (size_t i = 0; i < free_.size(); ++i)
        if (free_[i].bytes() >= bytes && free_[i].bytes() / 2 <= bytes + (size_t{2} << 20)) {
          Arena arena = std::move(free_[i]);
          free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
          return arena;
        }
      // One that is too small gives way: as images grow, memory of each size before would add up.
      const auto largest = std::max_element(free_.begin(), free_.end(), [bytes](const Arena& a, const Arena& b) {
        return (a.bytes() < bytes ? a.bytes() : 0) < (b.bytes() < bytes ? b.bytes() : 0);
      });
      if (largest != free_.end() && largest->bytes() < bytes) {
        outgrown = std::move(*largest);
        free_.erase(largest);
      }
    }
    outgrown = Arena();
    return Arena(bytes);
  }
  void give(Arena arena) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.size() >= kMost) free_.erase(free_.begin());
    free_.push_back(std::move(arena));
  }

 private:
  static constexpr size_t kMost = 16;
  std::mutex mutex_;
  std::vector<Arena> free_;
};

}  // namespace wcr
