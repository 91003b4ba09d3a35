#include "engine/mpi_cluster.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

namespace anemone {
namespace {

constexpr int kCallOffTag = 1;
constexpr size_t kMaxCount = 1 << 30;  // MPI counts in int

// MPI's own wait spins, on a core that the ranks still at work may need.
void Await(MPI_Request request) {
  using std::chrono::microseconds;
  int done = 0;
  for (microseconds nap(0);; nap = std::min(2 * nap + microseconds(10), microseconds(2000))) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done != 0) return;
    std::this_thread::sleep_for(nap);
  }
}

class MpiCluster : public Cluster {
 public:
  MpiCluster() {
    // Workers ask IsCalledOff, one at a time.
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    may_poll_ = provided >= MPI_THREAD_SERIALIZED;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiCluster() override {
    // A rank that falls out of the program must not wait for those that wait for it.
    if (std::uncaught_exceptions() > 0) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    MPI_Request request;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    Await(request);
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<std::string> Gather(const std::string& text) override {
    const std::lock_guard lock(mutex_);
    struct Head {
      int bytes;
      int called_off;
    };
    const Head mine = {static_cast<int>(std::min(text.size(), kMaxCount / size_)), called_off_ ? 1 : 0};
    std::vector<Head> heads(size_);
    MPI_Request request;
    MPI_Iallgather(&mine, 2, MPI_INT, heads.data(), 2, MPI_INT, MPI_COMM_WORLD, &request);
    Await(request);
    std::vector<int> counts(size_), starts(size_);
    for (int r = 0; r < size_; ++r) counts[r] = heads[r].bytes;
    std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), 0);
    std::string all(starts.back() + counts.back(), '\0');
    MPI_Iallgatherv(text.data(), mine.bytes, MPI_CHAR, all.data(), counts.data(), starts.data(), MPI_CHAR,
                    MPI_COMM_WORLD, &request);
    Await(request);
    // Everybody who called off did it once and has come here: their calls are taken out of the way.
    for (int r = 0; r < size_; ++r) {
      if (r != rank_ && heads[r].called_off != 0)
        MPI_Recv(nullptr, 0, MPI_CHAR, r, kCallOffTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    called_off_ = false;
    std::vector<std::string> texts;
    texts.reserve(heads.size());
    for (int r = 0; r < size_; ++r) texts.push_back(all.substr(starts[r], counts[r]));
    return texts;
  }

  void Xor(std::span<uint32_t> numbers) override {
    const std::lock_guard lock(mutex_);
    while (!numbers.empty()) {
      const size_t count = std::min(numbers.size(), kMaxCount);
      MPI_Request request;
      MPI_Iallreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(count), MPI_UINT32_T, MPI_BXOR, MPI_COMM_WORLD,
                     &request);
      Await(request);
      numbers = numbers.subspan(count);
    }
  }

  void CallOff() override {
    if (!may_poll_) return;
    const std::lock_guard lock(mutex_);
    if (std::exchange(called_off_, true)) return;
    for (int r = 0; r < size_; ++r) {  // empty messages wait for nobody
      if (r != rank_) MPI_Send(nullptr, 0, MPI_CHAR, r, kCallOffTag, MPI_COMM_WORLD);
    }
  }

  bool IsCalledOff() override {
    if (!may_poll_) return false;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    int found = 0;
    if (lock.owns_lock()) MPI_Iprobe(MPI_ANY_SOURCE, kCallOffTag, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
    return found != 0;
  }

 private:
  int rank_ = 0;
  int size_ = 1;
  bool may_poll_ = false;
  std::mutex mutex_;
  bool called_off_ = false;  // by this rank, since the last Gather
};

}  // namespace

std::unique_ptr<Cluster> JoinMpi(const std::string& job) {
  // What mpirun, and srun with either of its plugins, tell their processes. Without them MPI_Init would start a daemon.
  const char* const kLaunched[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  if (std::ranges::none_of(kLaunched, [](const char* name) { return std::getenv(name) != nullptr; })) return nullptr;
  auto cluster = std::make_unique<MpiCluster>();
  if (cluster->size() == 1) return nullptr;
  const std::vector<std::string> jobs = cluster->Gather(job);
  const bool alike = std::ranges::all_of(jobs, [&](const std::string& other) { return other == job; });
  return alike ? std::move(cluster) : nullptr;
}

}  // namespace anemone
