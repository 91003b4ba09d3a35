// RunRanks: a cluster whose ranks are threads of this process, so that every tool that looks at one process
// (sanitizers, faulty system calls) sees all of them.
#ifndef ANEMONE_TESTS_TESTING_THREAD_CLUSTER_H_
#define ANEMONE_TESTS_TESTING_THREAD_CLUSTER_H_

#include <atomic>
#include <barrier>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/cluster.h"

namespace anemone::testing {

// What the ranks have in common.
struct ThreadRanks {
  explicit ThreadRanks(int size) : texts(size), numbers(size), together(size) {}
  std::vector<std::string> texts;
  std::vector<std::vector<uint32_t>> numbers;
  std::barrier<> together;
  std::atomic<int> called_off = 0;
};

class ThreadCluster : public Cluster {
 public:
  ThreadCluster(ThreadRanks& ranks, int rank) : ranks_(ranks), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(ranks_.texts.size()); }

  std::vector<std::string> Gather(const std::string& text) override {
    ranks_.texts[rank_] = text;
    ranks_.together.arrive_and_wait();
    std::vector<std::string> all = ranks_.texts;
    if (std::exchange(has_called_off_, false)) --ranks_.called_off;
    ranks_.together.arrive_and_wait();
    return all;
  }
  void Xor(std::span<uint32_t> numbers) override {
    ranks_.numbers[rank_].assign(numbers.begin(), numbers.end());
    ranks_.together.arrive_and_wait();
    for (int other = 0; other < size(); ++other) {
      for (size_t i = 0; other != rank_ && i < numbers.size(); ++i) numbers[i] ^= ranks_.numbers[other][i];
    }
    ranks_.together.arrive_and_wait();
  }
  void CallOff() override {
    if (!std::exchange(has_called_off_, true)) ++ranks_.called_off;
  }
  bool IsCalledOff() override { return ranks_.called_off > (has_called_off_ ? 1 : 0); }

 private:
  ThreadRanks& ranks_;
  const int rank_;
  bool has_called_off_ = false;
};

// Calls `work` once a rank, all at a time; answers what each said.
inline std::vector<Status> RunRanks(int size, const std::function<Status(Cluster&)>& work) {
  ThreadRanks ranks(size);
  std::vector<Status> statuses(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCluster cluster(ranks, rank);
      statuses[rank] = work(cluster);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return statuses;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_TESTING_THREAD_CLUSTER_H_
