// Compiles kernels.cu for a CPU: a launch is a loop over the grid. Nothing in it needs threads of a
// block to wait for each other.
#include <math.h>

struct Index {
  int x, y, z;
};
static Index blockIdx, blockDim, threadIdx;
#define __device__
#define __global__

static int atomicAdd(int* at, int value) {
  const int before = *at;
  *at += value;
  return before;
}

#include "kernels.cu"

template <typename Kernel>
static void each(const int* grid, const int* block, Kernel kernel) {
  blockDim = {block[0], block[1], block[2]};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block[2]; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x) kernel();
}

extern "C" {
void cpu_halve(const int* g, const int* b, const Fit* a0, int a1) {
  each(g, b, [=] { halve(a0, a1); });
}
void cpu_fit(const int* g, const int* b, const Fit* a0, const Target* a1, float* a2) {
  each(g, b, [=] { fit(a0, a1, a2); });
}
void cpu_rectify(const int* g, const int* b, const Cut* a0, const Target* a1, float* a2, u8* a3) {
  each(g, b, [=] { rectify(a0, a1, a2, a3); });
}
void cpu_laplacian(const int* g, const int* b, const u8* a0, int a1, int a2, i64* a3) {
  each(g, b, [=] { laplacian(a0, a1, a2, a3); });
}
void cpu_gather(const int* g, const int* b, const float* a0, const float* a1, const float* a2,
                const float* a3, int a4, int a5, int a6, int* a7, int* a8) {
  each(g, b, [=] { gather(a0, a1, a2, a3, a4, a5, a6, a7, a8); });
}
}
