// Cluster: the processes that carry out one plan together, each of them a rank. All make the same plan of the same
// words; `Execute` divides its windows among them, into the same files on a file system that all of them share.
#ifndef ANEMONE_ENGINE_CLUSTER_H_
#define ANEMONE_ENGINE_CLUSTER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "anemone/status.h"

namespace anemone {

// A cluster of one, which every run is unless it was started otherwise. MpiCluster (engine/mpi_cluster.h) is the other.
// Collective calls are made by every rank, in the same order, by one thread.
class Cluster {
 public:
  Cluster() = default;
  virtual ~Cluster() = default;
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }

  // Collective: each rank's text, in the order of ranks. Nobody passes before all have come.
  virtual std::vector<std::string> Gather(const std::string& text) { return {text}; }
  // Collective: each number becomes the XOR of all ranks' numbers at its place.
  virtual void Xor(std::span<uint32_t> numbers) { static_cast<void>(numbers); }

  // Not collective, any thread: tells the other ranks that this one has failed; asks whether one has said so since the
  // last collective call.
  virtual void CallOff() {}
  virtual bool IsCalledOff() { return false; }

  // Collective: ok when every rank's status is; else, on all of them, one failure, which names its rank unless all
  // failed alike.
  Status Agree(const Status& status);
  // Collective: what rank 0 says of what it alone has done.
  Status Follow(const Status& status);

  static Cluster& Alone();
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_CLUSTER_H_
