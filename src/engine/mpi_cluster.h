// MpiCluster: the ranks that mpirun or srun started. The only user of <mpi.h>, and linked into the program alone
// (ANEMONE_WITH_MPI): the library and the Python module know Cluster and nothing of MPI.
#ifndef ANEMONE_ENGINE_MPI_CLUSTER_H_
#define ANEMONE_ENGINE_MPI_CLUSTER_H_

#include <memory>
#include <string>

#include "engine/cluster.h"

namespace anemone {

// The cluster this process was started in; null where none was, where it has one rank, and where not all of its ranks
// say the same `job`: then each works for itself. Collective. The end of the cluster's life is MPI's too
// (MPI_Finalize), so it is joined at most once. A rank that dies takes the others along, which is MPI's own way.
std::unique_ptr<Cluster> JoinMpi(const std::string& job);

}  // namespace anemone

#endif  // ANEMONE_ENGINE_MPI_CLUSTER_H_
