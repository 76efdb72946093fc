// The CUDA kernels of alprd: pictures into network inputs, and what little of the outputs counts.
//
// They repeat what preprocess.py does with OpenCV, rounding included, so that both ways show the
// networks the same pictures. Compile without fused multiply-add (packaging/build-kernels does, into
// kernels.ptx); the same file compiles as C++ for a CPU, which is how most of it is tested.

typedef unsigned char u8;
typedef unsigned long long u64;
typedef long long i64;

enum { BGR = 0, RGB = 1, NV12 = 2, NV12_FULL = 3 };  // how a picture lies in memory
enum { ORDER_RGB = 0, ORDER_BGR = 1, ORDER_GREY = 2 };  // what a network wants
enum { NCHW = 0, NHWC = 1 };

struct Picture {  // 32 bytes, as inference/gpu_layout.py packs it
  u64 plane;      // pixels, or luma
  u64 chroma;     // of the two NV12 only
  int pitch;      // bytes from one row to the next, of both planes
  int width, height;
  int format;
};

struct Fit {     // 112 bytes: where a frame goes in the detector's input
  Picture source;
  Picture half[2];  // memory for the halved frame, in turns; BGR
  int x, y, width, height;  // in the input, pixels
};

struct Cut {  // 128 bytes: a plate's way into the reader's input
  Picture source;
  double matrix[9];   // from a pixel of the finer crop to one of the region
  int left, top, width, height;  // the region
  int times_x, times_y;  // how much finer than the crop the plate is sampled
};

struct Target {  // 44 bytes: a network's input, single precision
  int width, height;
  int order, layout;
  int pad;
  float scale[3], shift[3];  // value = pixel * scale - shift, in the network's order
};

struct Pixel {
  int b, g, r;
};

__device__ inline int clamp(int value, int low, int high) {
  return value < low ? low : (value > high ? high : value);
}

// BT.601, limited range, as OpenCV's COLOR_YUV2BGR_NV12: 20 bits of fixed point.
__device__ inline Pixel from_yuv(int y, int u, int v) {
  y = (y > 16 ? y - 16 : 0) * 1220542;
  u -= 128;
  v -= 128;
  const int half = 1 << 19;
  Pixel p;
  p.b = clamp((y + half + 2116026 * u) >> 20, 0, 255);
  p.g = clamp((y + half - 852492 * v - 409993 * u) >> 20, 0, 255);
  p.r = clamp((y + half + 1673527 * v) >> 20, 0, 255);
  return p;
}

// The same with luma from 0 to 255, as OpenCV's COLOR_YCrCb2BGR: 14 bits.
__device__ inline Pixel from_full_yuv(int y, int u, int v) {
  u -= 128;
  v -= 128;
  const int half = 1 << 13;
  Pixel p;
  p.b = clamp(y + ((29049 * u + half) >> 14), 0, 255);
  p.g = clamp(y + ((-11698 * v - 5636 * u + half) >> 14), 0, 255);
  p.r = clamp(y + ((22987 * v + half) >> 14), 0, 255);
  return p;
}

__device__ inline Pixel load(const Picture& from, int x, int y) {
  if (from.format >= NV12) {
    const u8* luma = (const u8*)from.plane + (i64)y * from.pitch + x;
    const u8* uv = (const u8*)from.chroma + (i64)(y >> 1) * from.pitch + (x & ~1);
    return from.format == NV12 ? from_yuv(luma[0], uv[0], uv[1])
                               : from_full_yuv(luma[0], uv[0], uv[1]);
  }
  const u8* at = (const u8*)from.plane + (i64)y * from.pitch + 3 * (i64)x;
  Pixel p;
  p.g = at[1];
  p.b = from.format == BGR ? at[0] : at[2];
  p.r = from.format == BGR ? at[2] : at[0];
  return p;
}

__device__ inline int grey(const Pixel& p) {
  return (p.b * 3735 + p.g * 19235 + p.r * 9798 + (1 << 14)) >> 15;
}

// (sum + 2) / 4 of two by two pixels: OpenCV's fast way to half the size.
__device__ inline Pixel average4(const Picture& from, int x, int y) {
  const Pixel a = load(from, x, y), b = load(from, x + 1, y);
  const Pixel c = load(from, x, y + 1), d = load(from, x + 1, y + 1);
  Pixel p;
  p.b = (a.b + b.b + c.b + d.b + 2) >> 2;
  p.g = (a.g + b.g + c.g + d.g + 2) >> 2;
  p.r = (a.r + b.r + c.r + d.r + 2) >> 2;
  return p;
}

// Three pixels and their weights that one pixel of half the size covers; an even size needs two.
struct Cover {
  float weight[3];
  int last;
};

__device__ inline Cover cover(int at, int size) {
  Cover c;
  const int half = size > 1 ? size / 2 : 1;
  if (size == 1) {
    c.weight[0] = 1.0f, c.weight[1] = c.weight[2] = 0.0f, c.last = 0;
  } else if (size % 2 == 0) {
    c.weight[0] = c.weight[1] = 0.5f, c.weight[2] = 0.0f, c.last = 1;
  } else {  // each covers 2 + 1 / half, and begins at / half after an even pixel
    const float whole = (float)half / (float)size;
    c.weight[0] = (float)(half - at) / (float)half * whole;
    c.weight[1] = whole;
    c.weight[2] = (float)(at + 1) / (float)half * whole;
    c.last = 2;
  }
  return c;
}

__device__ inline int rounded(float value) {  // half to even, as OpenCV
#ifdef __CUDA_ARCH__
  return __float2int_rn(value);
#else
  return (int)nearbyintf(value);
#endif
}

__device__ inline i64 rounded_double(double value) {
#ifdef __CUDA_ARCH__
  return __double2ll_rn(value);
#else
  return (i64)nearbyint(value);
#endif
}

__device__ inline Pixel halved(const Picture& from, int x, int y) {
  if (from.width % 2 == 0 && from.height % 2 == 0) return average4(from, 2 * x, 2 * y);
  const Cover across = cover(x, from.width), down = cover(y, from.height);
  float b = 0.0f, g = 0.0f, r = 0.0f;
  for (int j = 0; j <= down.last; ++j) {
    float row_b = 0.0f, row_g = 0.0f, row_r = 0.0f;
    for (int i = 0; i <= across.last; ++i) {
      const Pixel p = load(from, 2 * x + i, 2 * y + j);
      row_b += (float)p.b * across.weight[i];
      row_g += (float)p.g * across.weight[i];
      row_r += (float)p.r * across.weight[i];
    }
    b += row_b * down.weight[j];
    g += row_g * down.weight[j];
    r += row_r * down.weight[j];
  }
  Pixel p;
  p.b = clamp(rounded(b), 0, 255);
  p.g = clamp(rounded(g), 0, 255);
  p.r = clamp(rounded(r), 0, 255);
  return p;
}

// Where a pixel of the resized picture lies in the other: two neighbours, 11 bits between them.
struct Between {
  int low, high;
  int weight_low, weight_high;
};

__device__ inline Between between(int at, int size, int wanted, bool across) {
  const float place = (float)(((double)at + 0.5) * ((double)size / (double)wanted) - 0.5);
  const int low = (int)floorf(place);
  float part = place - (float)low;
  // Beyond the edge OpenCV takes one column with all the weight, but one row with both weights,
  // which rounds otherwise.
  if (across && (low < 0 || low >= size - 1)) part = 0.0f;
  Between b;
  b.low = clamp(low, 0, size - 1);
  b.high = clamp(low + 1, 0, size - 1);
  b.weight_low = rounded((1.0f - part) * 2048.0f);
  b.weight_high = rounded(part * 2048.0f);
  return b;
}

__device__ inline int blend(int a, int b, int c, int d, const Between& across, const Between& down) {
  const int upper = a * across.weight_low + b * across.weight_high;
  const int lower = c * across.weight_low + d * across.weight_high;
  return clamp((((down.weight_low * (upper >> 4)) >> 16) +
                ((down.weight_high * (lower >> 4)) >> 16) + 2) >> 2, 0, 255);
}

// One pixel of the picture resized to width x height: OpenCV's INTER_LINEAR.
__device__ inline Pixel resized(const Picture& from, int x, int y, int width, int height) {
  if (from.width == width && from.height == height) return load(from, x, y);
  if (from.width == 2 * width && from.height == 2 * height) return average4(from, 2 * x, 2 * y);
  const Between across = between(x, from.width, width, true);
  const Between down = between(y, from.height, height, false);
  const Pixel a = load(from, across.low, down.low), b = load(from, across.high, down.low);
  const Pixel c = load(from, across.low, down.high), d = load(from, across.high, down.high);
  Pixel p;
  p.b = blend(a.b, b.b, c.b, d.b, across, down);
  p.g = blend(a.g, b.g, c.g, d.g, across, down);
  p.r = blend(a.r, b.r, c.r, d.r, across, down);
  return p;
}

// How often the frame is halved before bilinear sampling sees every pixel of it.
__device__ inline int halvings(const Picture& source, int width, int height) {
  int count = 0, w = source.width, h = source.height;
  while ((double)w / (double)width > 2.0 && (double)h / (double)height > 2.0) {
    w /= 2, h /= 2;
    ++count;
  }
  return count;
}

// The frame after `count` halvings; its memory takes turns.
__device__ inline Picture level(const Fit& fit, int count) {
  Picture p = fit.source;
  for (int i = 0; i < count; ++i) {
    const int w = p.width / 2, h = p.height / 2;
    p = fit.half[i % 2];
    p.width = w, p.height = h, p.pitch = 3 * w, p.format = BGR;
  }
  return p;
}

__device__ inline void put(float* input, i64 at, int value, const Target& to, int channel) {
  input[at] = (float)value * to.scale[channel] - to.shift[channel];
}

__device__ inline void store(float* input, const Target& to, int row, int x, int y, const Pixel& p) {
  const i64 plane = (i64)to.width * to.height, at = (i64)y * to.width + x;
  if (to.order == ORDER_GREY) {
    put(input, row * plane + at, grey(p), to, 0);
    return;
  }
  const i64 step = to.layout == NCHW ? plane : 1;
  const i64 first = 3 * (row * plane) + (to.layout == NCHW ? at : 3 * at);
  put(input, first, to.order == ORDER_RGB ? p.r : p.b, to, 0);
  put(input, first + step, p.g, to, 1);
  put(input, first + 2 * step, to.order == ORDER_RGB ? p.b : p.r, to, 2);
}

// Halve, for the `step`-th time, every frame that needs it. Grid: x, y over the largest half, z the
// frames.
extern "C" __global__ void halve(const Fit* fits, int step) {
  const Fit& fit = fits[blockIdx.z];
  if (halvings(fit.source, fit.width, fit.height) <= step) return;
  const Picture from = level(fit, step), to = level(fit, step + 1);
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= to.width || y >= to.height) return;
  const Pixel p = halved(from, x, y);
  u8* out = (u8*)to.plane + (i64)y * to.pitch + 3 * (i64)x;
  out[0] = (u8)p.b, out[1] = (u8)p.g, out[2] = (u8)p.r;
}

// Fit the frames into the rows of the input. Grid: x, y over the input, z the frames.
extern "C" __global__ void fit(const Fit* fits, const Target* target, float* input) {
  const Fit& fit = fits[blockIdx.z];
  const Target& to = *target;
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= to.width || y >= to.height) return;
  Pixel p;
  p.b = p.g = p.r = to.pad;
  const int px = x - fit.x, py = y - fit.y;
  if (px >= 0 && py >= 0 && px < fit.width && py < fit.height) {
    const Picture from = level(fit, halvings(fit.source, fit.width, fit.height));
    p = resized(from, px, py, fit.width, fit.height);
  }
  store(input, to, blockIdx.z, x, y, p);
}

// One pixel of the region as the finer crop sees it: OpenCV's warpPerspective, five bits between
// pixels, the region's edge repeated.
__device__ inline Pixel warped(const Cut& cut, int x, int y) {
  const double* m = cut.matrix;
  const double w = m[6] * x + m[7] * y + m[8];
  const double fine = w != 0.0 ? 32.0 / w : 0.0, most = 2147483647.0;
  double sx = (m[0] * x + m[1] * y + m[2]) * fine, sy = (m[3] * x + m[4] * y + m[5]) * fine;
  sx = sx < -most ? -most : (sx > most ? most : sx);
  sy = sy < -most ? -most : (sy > most ? most : sy);
  const i64 ix = rounded_double(sx), iy = rounded_double(sy);
  const int right = (int)(ix & 31), below = (int)(iy & 31);
  const i64 px = ix >> 5, py = iy >> 5;
  const int x0 = cut.left + clamp((int)px, 0, cut.width - 1);
  const int x1 = cut.left + clamp((int)px + 1, 0, cut.width - 1);
  const int y0 = cut.top + clamp((int)py, 0, cut.height - 1);
  const int y1 = cut.top + clamp((int)py + 1, 0, cut.height - 1);
  const int wa = (32 - right) * (32 - below), wb = right * (32 - below);
  const int wc = (32 - right) * below, wd = right * below;
  const Pixel a = load(cut.source, x0, y0), b = load(cut.source, x1, y0);
  const Pixel c = load(cut.source, x0, y1), d = load(cut.source, x1, y1);
  Pixel p;
  p.b = (a.b * wa + b.b * wb + c.b * wc + d.b * wd + 512) >> 10;
  p.g = (a.g * wa + b.g * wb + c.g * wc + d.g * wd + 512) >> 10;
  p.r = (a.r * wa + b.r * wb + c.r * wc + d.r * wd + 512) >> 10;
  return p;
}

// Cut the plates out, upright, into the rows of the input, and as 8-bit BGR crops.
// Grid: x, y over the input, z the plates.
extern "C" __global__ void rectify(const Cut* cuts, const Target* target, float* input, u8* crops) {
  const Cut& cut = cuts[blockIdx.z];
  const Target& to = *target;
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= to.width || y >= to.height) return;
  Pixel sum;
  sum.b = sum.g = sum.r = 0;
  for (int j = 0; j < cut.times_y; ++j) {
    for (int i = 0; i < cut.times_x; ++i) {
      const Pixel p = warped(cut, x * cut.times_x + i, y * cut.times_y + j);
      sum.b += p.b, sum.g += p.g, sum.r += p.r;
    }
  }
  if (cut.times_x == 2 && cut.times_y == 2) {
    sum.b = (sum.b + 2) >> 2, sum.g = (sum.g + 2) >> 2, sum.r = (sum.r + 2) >> 2;
  } else if (cut.times_x * cut.times_y > 1) {
    const float part = 1.0f / (float)(cut.times_x * cut.times_y);
    sum.b = rounded((float)sum.b * part), sum.g = rounded((float)sum.g * part);
    sum.r = rounded((float)sum.r * part);
  }
  u8* out = crops + 3 * (((i64)blockIdx.z * to.height + y) * to.width + x);
  out[0] = (u8)sum.b, out[1] = (u8)sum.g, out[2] = (u8)sum.r;
  store(input, to, blockIdx.z, x, y, sum);
}

__device__ inline int grey_at(const u8* crop, int width, int x, int y) {
  const u8* at = crop + 3 * ((i64)y * width + x);
  Pixel p;
  p.b = at[0], p.g = at[1], p.r = at[2];
  return grey(p);
}

// Sum and sum of squares of the Laplacian of each row of the crops' grey values; the edge is
// mirrored. Grid: x over the rows, z the plates. Whole numbers: the order of summing is no matter.
extern "C" __global__ void laplacian(const u8* crops, int width, int height, i64* sums) {
  const int y = blockIdx.x * blockDim.x + threadIdx.x;
  if (y >= height) return;
  const u8* crop = crops + 3 * ((i64)blockIdx.z * height * width);
  const int above = y > 0 ? y - 1 : 1, below = y < height - 1 ? y + 1 : height - 2;
  i64 sum = 0, squares = 0;
  for (int x = 0; x < width; ++x) {
    const int before = x > 0 ? x - 1 : 1, after = x < width - 1 ? x + 1 : width - 2;
    const int value = grey_at(crop, width, before, y) + grey_at(crop, width, after, y) +
                      grey_at(crop, width, x, above) + grey_at(crop, width, x, below) -
                      4 * grey_at(crop, width, x, y);
    sum += value;
    squares += (i64)value * value;
  }
  i64* out = sums + 2 * ((i64)blockIdx.z * height + y);
  out[0] = sum;
  out[1] = squares;
}

// Gather the cells of which some class reaches its least score. Grid: x over the cells, z frames.
// A record is frame and cell (as whole numbers), box, corners if there are any, scores. What does
// not fit is counted all the same, so that the host sees it.
extern "C" __global__ void gather(const float* boxes, const float* scores, const float* corners,
                                  const float* least, int cells, int classes, int capacity,
                                  int* count, int* records) {
  const int cell = blockIdx.x * blockDim.x + threadIdx.x;
  if (cell >= cells) return;
  const i64 at = (i64)blockIdx.z * cells + cell;
  bool wanted = false;
  for (int k = 0; k < classes; ++k) {
    const float score = scores[at * classes + k];
    wanted |= score >= least[k] && score <= 3.402823466e38f;  // false for NaN
  }
  if (!wanted) return;
  const int slot = atomicAdd(count, 1);
  if (slot >= capacity) return;
  int* out = records + (i64)slot * (2 + 4 + (corners ? 8 : 0) + classes);
  out[0] = blockIdx.z;
  out[1] = cell;
  float* values = (float*)(out + 2);
  for (int k = 0; k < 4; ++k) *values++ = boxes[at * 4 + k];
  for (int k = 0; corners && k < 8; ++k) *values++ = corners[at * 8 + k];
  for (int k = 0; k < classes; ++k) *values++ = scores[at * classes + k];
}
