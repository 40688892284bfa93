// Convolutions of the report's networks in float32, zero-padded to the same size, for square images of 28, 14 and 7 pixels.
// For processors with AVX2 and FMA. Eight channels make a vector; channels are multiples of eight. Kernels are 3 wide, or 7 at side 28.
//
// Dense ones (dense_, adjoint, gradient_) are products of Fourier coefficients: of N x N points, N at least the side plus half
// the kernel, so that what wraps around falls on zeros or outside. A real image has F(N) coefficients; its spectrum is stored as
// [group of 16 images][coefficient][image][channel / 8][re, im][8], that a product reads memory in order.

#include <cmath>
#include <cstdlib>
#include <immintrin.h>

typedef float V __attribute__((vector_size(32), aligned(32)));
typedef float Unaligned __attribute__((vector_size(32), aligned(4)));

static inline V all(float value) { return (V)_mm256_set1_ps(value); }
static inline V& at(float* place) { return *(V*)place; }
static inline const V& at(const float* place) { return *(const V*)place; }

constexpr int GROUP = 16;
// Sixteen floats more than the numbers need: steps in memory of a power of two would share the same few lines of the cache.
constexpr int PAD = 16;
static inline long spectrum_row(int channels) { return 2L * GROUP * channels + PAD; }
static inline long kernel_row(int in, int out) { return 2L * in * out + PAD; }

// Memory that grows and stays: asking the system for it at each call costs more than some of the calls.
static float* scratch(int which, long floats) {
  struct Block { float* data = nullptr; long size = 0; ~Block() { std::free(data); } };
  static thread_local Block blocks[3];
  Block& block = blocks[which];
  if (block.size < floats) {
    std::free(block.data);
    block.size = (floats + 15) / 16 * 16;
    block.data = (float*)std::aligned_alloc(64, sizeof(float) * block.size);
  }
  return block.data;
}

// ---- Fourier transforms ----

template <int N> struct Roots {
  float cos[N], sin[N];
  Roots() {
    for (int k = 0; k < N; k++) cos[k] = std::cos(2 * M_PI * k / N), sin[k] = std::sin(2 * M_PI * k / N);
  }
};
template <int N> static const Roots<N> roots;

// Of N complex vectors, every STEP-th of the input; exp(-i ...). With re and im exchanged, the inverse times N.
template <int N, int STEP> static inline __attribute__((always_inline)) void fft(const V* in_re, const V* in_im, V* re, V* im) {
  if constexpr (N == 2) {
    re[0] = in_re[0] + in_re[STEP], im[0] = in_im[0] + in_im[STEP];
    re[1] = in_re[0] - in_re[STEP], im[1] = in_im[0] - in_im[STEP];
  } else {
    constexpr int Q = N / 4;
    if constexpr (Q > 1) {
      for (int j = 0; j < 4; j++) fft<Q, 4 * STEP>(in_re + j * STEP, in_im + j * STEP, re + j * Q, im + j * Q);
    } else {
      for (int j = 0; j < 4; j++) re[j] = in_re[j * STEP], im[j] = in_im[j * STEP];
    }
    #pragma GCC unroll 8
    for (int k = 0; k < Q; k++) {
      V x[4], y[4];
      #pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        V a = re[j * Q + k], b = im[j * Q + k], c = all(roots<N>.cos[j * k]), s = all(roots<N>.sin[j * k]);
        x[j] = j * k > 0 ? a * c + b * s : a, y[j] = j * k > 0 ? b * c - a * s : b;
      }
      V even_re = x[0] + x[2], even_im = y[0] + y[2], odd_re = x[1] + x[3], odd_im = y[1] + y[3];
      V first_re = x[0] - x[2], first_im = y[0] - y[2], third_re = x[1] - x[3], third_im = y[1] - y[3];
      re[k] = even_re + odd_re, im[k] = even_im + odd_im;
      re[2 * Q + k] = even_re - odd_re, im[2 * Q + k] = even_im - odd_im;
      re[Q + k] = first_re + third_im, im[Q + k] = first_im - third_re;
      re[3 * Q + k] = first_re - third_im, im[3 * Q + k] = first_im + third_re;
    }
  }
}

// The coefficients of a real image that say all, a column kx after the other; in the first and last the second half repeats.
template <int N> constexpr int F = N * (N / 2 - 1) + 2 * (N / 2 + 1);
template <int N> static inline int column(int kx) { return kx ? N / 2 + 1 + (kx - 1) * N : 0; }
template <int N> static inline int rows(int kx) { return kx == 0 || kx == N / 2 ? N / 2 + 1 : N; }

template <int N, int H> static void to_coefficients(const V* pixels, float* out, long step) {
  constexpr int M = N / 2 + 1;
  V row_re[(H + 1) * M], row_im[(H + 1) * M], a[N], b[N], re[N], im[N];
  for (int k = 0; k < N; k++) a[k] = b[k] = V{};
  for (int y = 0; y < H; y += 2) {  // two real rows are one complex
    for (int x = 0; x < H; x++) a[x] = pixels[y * H + x], b[x] = y + 1 < H ? pixels[(y + 1) * H + x] : V{};
    fft<N, 1>(a, b, re, im);
    for (int k = 0; k < M; k++) {
      int mirror = (N - k) % N;
      row_re[y * M + k] = (re[k] + re[mirror]) * 0.5f, row_im[y * M + k] = (im[k] - im[mirror]) * 0.5f;
      row_re[(y + 1) * M + k] = (im[k] + im[mirror]) * 0.5f, row_im[(y + 1) * M + k] = (re[mirror] - re[k]) * 0.5f;
    }
  }
  for (int k = 0; k < N; k++) a[k] = b[k] = V{};
  for (int kx = 0; kx < M; kx++) {
    for (int y = 0; y < H; y++) a[y] = row_re[y * M + kx], b[y] = row_im[y * M + kx];
    fft<N, 1>(a, b, re, im);
    float* place = out + column<N>(kx) * step;
    for (int ky = 0; ky < rows<N>(kx); ky++, place += step) at(place) = re[ky], at(place + 8) = im[ky];
  }
}

template <int N, int H> static void to_pixels(const float* in, long step, V* pixels, V bias) {
  constexpr int M = N / 2 + 1;
  V row_re[(H + 1) * M], row_im[(H + 1) * M], a[N], b[N], re[N], im[N];
  for (int k = 0; k < M; k++) row_re[H * M + k] = row_im[H * M + k] = V{};
  for (int kx = 0; kx < M; kx++) {
    const float* place = in + column<N>(kx) * step;
    const int known = rows<N>(kx);
    for (int ky = 0; ky < known; ky++, place += step) a[ky] = at(place), b[ky] = at(place + 8);
    for (int ky = known; ky < N; ky++) a[ky] = a[N - ky], b[ky] = -b[N - ky];
    fft<N, 1>(b, a, im, re);
    for (int y = 0; y < H; y++) row_re[y * M + kx] = re[y], row_im[y * M + kx] = im[y];
  }
  for (int y = 0; y < H; y += 2) {
    const V *re0 = row_re + y * M, *im0 = row_im + y * M, *re1 = re0 + M, *im1 = im0 + M;
    for (int k = 1; k < N / 2; k++) {
      a[k] = re0[k] - im1[k], b[k] = im0[k] + re1[k];
      a[N - k] = re0[k] + im1[k], b[N - k] = re1[k] - im0[k];
    }
    a[0] = re0[0], b[0] = re1[0], a[N / 2] = re0[N / 2], b[N / 2] = re1[N / 2];
    fft<N, 1>(b, a, im, re);
    for (int x = 0; x < H; x++) pixels[y * H + x] = re[x] + bias;
    if (y + 1 < H) for (int x = 0; x < H; x++) pixels[(y + 1) * H + x] = im[x] + bias;
  }
}

// ---- images in memory: (B, C, H, W) with the channels last, or with the pixels last ----

struct Images { float* data; long image, channel, pixel; };

static void transpose(const float* in, long step, V* out) {
  __m256 r[8], t[8];
  for (int k = 0; k < 8; k++) r[k] = _mm256_loadu_ps(in + k * step);
  for (int k = 0; k < 8; k += 2) t[k] = _mm256_unpacklo_ps(r[k], r[k + 1]), t[k + 1] = _mm256_unpackhi_ps(r[k], r[k + 1]);
  for (int k = 0; k < 8; k += 4) {
    r[k] = _mm256_shuffle_ps(t[k], t[k + 2], 0x44), r[k + 1] = _mm256_shuffle_ps(t[k], t[k + 2], 0xEE);
    r[k + 2] = _mm256_shuffle_ps(t[k + 1], t[k + 3], 0x44), r[k + 3] = _mm256_shuffle_ps(t[k + 1], t[k + 3], 0xEE);
  }
  for (int k = 0; k < 4; k++) {
    out[k] = (V)_mm256_permute2f128_ps(r[k], r[k + 4], 0x20), out[k + 4] = (V)_mm256_permute2f128_ps(r[k], r[k + 4], 0x31);
  }
}

template <int P> static void load(const Images& from, int image, int channel, V* pixels) {
  const float* in = from.data + image * from.image + channel * from.channel;
  int p = 0;
  if (from.channel == 1) for (; p < P; p++) pixels[p] = *(const Unaligned*)(in + p * from.pixel);
  for (; p + 8 <= P; p += 8) transpose(in + p, from.channel, pixels + p);
  for (; p < P; p++) for (int c = 0; c < 8; c++) pixels[p][c] = in[c * from.channel + p];
}

template <int P> static void store(const Images& to, int image, int channel, const V* pixels) {
  float* out = to.data + image * to.image + channel * to.channel;
  int p = 0;
  V planes[8];
  if (to.channel == 1) for (; p < P; p++) *(Unaligned*)(out + p * to.pixel) = pixels[p];
  for (; p + 8 <= P; p += 8) {
    transpose((const float*)(pixels + p), 8, planes);
    for (int c = 0; c < 8; c++) *(Unaligned*)(out + c * to.channel + p) = planes[c];
  }
  for (; p < P; p++) for (int c = 0; c < 8; c++) out[c * to.channel + p] = pixels[p][c];
}

// ---- products, coefficient by coefficient ----

// y[16][out / 8][2][8] = x[16][in / 8][2][8] times w[out / 8][in][2][8], complex.
static void product(const float* x, const float* w, float* y, int in, int out) {
  const long step = 2 * in;
  for (int v = 0; v < out / 8; v++)
    for (int b = 0; b < GROUP; b += 4) {
      V re0{}, re1{}, re2{}, re3{}, im0{}, im1{}, im2{}, im3{};
      const float *image = x + b * step, *kernel = w + 16L * v * in;
      for (int eight = 0; eight < in / 8; eight++, image += 16)
        #pragma GCC unroll 1
        for (const float* c = image; c < image + 8; c++, kernel += 16) {
          V wr = at(kernel), wi = at(kernel + 8);
          V r0 = all(c[0]), r1 = all(c[step]), r2 = all(c[2 * step]), r3 = all(c[3 * step]);
          re0 += r0 * wr, re1 += r1 * wr, re2 += r2 * wr, re3 += r3 * wr;
          im0 += r0 * wi, im1 += r1 * wi, im2 += r2 * wi, im3 += r3 * wi;
          V i0 = all(c[8]), i1 = all(c[step + 8]), i2 = all(c[2 * step + 8]), i3 = all(c[3 * step + 8]);
          re0 -= i0 * wi, re1 -= i1 * wi, re2 -= i2 * wi, re3 -= i3 * wi;
          im0 += i0 * wr, im1 += i1 * wr, im2 += i2 * wr, im3 += i3 * wr;
        }
      float* to = y + 2L * b * out + 16 * v;
      at(to) = re0, at(to + 8) = im0, to += 2 * out, at(to) = re1, at(to + 8) = im1, to += 2 * out;
      at(to) = re2, at(to + 8) = im2, to += 2 * out, at(to) = re3, at(to + 8) = im3;
    }
}

// Images [16 from, 16 to) in groups; y may be null, where the spectrum alone is wanted.
template <int N, int H>
static void dense(const Images& x, const Images& y, int images, int in, int out, const float* kernel, const float* bias, float* spectrum, int from, int to) {
  constexpr int PASS = 4;  // groups that share one reading of the kernel
  const long x_row = spectrum_row(in), y_row = spectrum_row(out);
  float* products = y.data ? scratch(0, PASS * F<N> * y_row) : nullptr;
  V pixels[H * H];
  for (int first = from; first < to; first += PASS) {
    const int last = first + PASS < to ? first + PASS : to;
    for (int g = first; g < last; g++)
      for (int b = 0; b < GROUP; b++)
        for (int v = 0; v < in / 8; v++) {
          float* place = spectrum + g * F<N> * x_row + 2L * b * in + 16 * v;
          if (g * GROUP + b < images) {
            load<H * H>(x, g * GROUP + b, 8 * v, pixels);
            to_coefficients<N, H>(pixels, place, x_row);
          } else {
            for (int f = 0; f < F<N>; f++, place += x_row) at(place) = at(place + 8) = V{};
          }
        }
    if (!y.data) continue;
    for (int f = 0; f < F<N>; f++)
      for (int g = first; g < last; g++)
        product(spectrum + (g * (long)F<N> + f) * x_row, kernel + f * kernel_row(in, out), products + ((g - first) * (long)F<N> + f) * y_row, in, out);
    for (int g = first; g < last; g++)
      for (int b = 0; b < GROUP && g * GROUP + b < images; b++)
        for (int v = 0; v < out / 8; v++) {
          V add = bias ? (V) * (const Unaligned*)(bias + 8 * v) : V{};
          to_pixels<N, H>(products + (g - first) * F<N> * y_row + 2L * b * out + 16 * v, y_row, pixels, add);
          store<H * H>(y, g * GROUP + b, 8 * v, pixels);
        }
  }
}

// kernel_row [out / 8][in][2][8] of each coefficient = the sum over images of x times conj(y), coefficients [from, to).
template <int N> static void gradient(const float* x, const float* y, int groups, int in, int out, float* kernel, int from, int to) {
  const long x_row = spectrum_row(in), y_row = spectrum_row(out), images = (long)groups * GROUP;
  float *xs = scratch(1, 2 * images * in), *ys = scratch(2, 16 * images);  // [in / 4][image][2][4], [image][2][8]
  for (int f = from; f < to; f++) {
    for (long b = 0; b < images; b++) {
      const float* place = x + (b / GROUP * F<N> + f) * x_row + b % GROUP * 2 * in;
      for (int c = 0; c < in; c += 4) {
        float* to = xs + (c / 4 * images + b) * 8;
        _mm_store_ps(to, _mm_load_ps(place + c / 8 * 16 + c % 8)), _mm_store_ps(to + 4, _mm_load_ps(place + c / 8 * 16 + c % 8 + 8));
      }
    }
    for (int v = 0; v < out / 8; v++) {
      for (long b = 0; b < images; b++) {
        const float* place = y + (b / GROUP * F<N> + f) * y_row + b % GROUP * 2 * out + 16 * v;
        at(ys + 16 * b) = at(place), at(ys + 16 * b + 8) = at(place + 8);
      }
      for (int c = 0; c < in; c += 4) {
        V re0{}, re1{}, re2{}, re3{}, im0{}, im1{}, im2{}, im3{};
        const float *p = xs + c / 4 * images * 8, *q = ys;
        #pragma GCC unroll 4
        for (long b = 0; b < images; b++, p += 8, q += 16) {
          V yr = at(q), yi = at(q + 8);
          V r0 = all(p[0]), r1 = all(p[1]), r2 = all(p[2]), r3 = all(p[3]);
          re0 += r0 * yr, re1 += r1 * yr, re2 += r2 * yr, re3 += r3 * yr;
          im0 -= r0 * yi, im1 -= r1 * yi, im2 -= r2 * yi, im3 -= r3 * yi;
          V i0 = all(p[4]), i1 = all(p[5]), i2 = all(p[6]), i3 = all(p[7]);
          re0 += i0 * yi, re1 += i1 * yi, re2 += i2 * yi, re3 += i3 * yi;
          im0 += i0 * yr, im1 += i1 * yr, im2 += i2 * yr, im3 += i3 * yr;
        }
        float* to = kernel + f * kernel_row(in, out) + 16L * (v * in + c);
        at(to) = re0, at(to + 8) = im0, at(to + 16) = re1, at(to + 24) = im1;
        at(to + 32) = re2, at(to + 40) = im2, at(to + 48) = re3, at(to + 56) = im3;
      }
    }
  }
}

// ---- kernels (out, in, K, K) and their coefficients ----

template <int N> static inline int turn(int tap, int frequency) { return (tap * frequency % N + N) % N; }

// [out / 8][in][2][8] of each coefficient, over N^2; of the adjoint, in and out change places and im its sign.
template <int N, int K> static void kernel_to_coefficients(const float* kernel, int out, int in, bool adjoint, float* to) {
  constexpr int M = N / 2 + 1, R = K / 2;
  const int vectors = (adjoint ? in : out) / 8, others = adjoint ? out : in;
  const long lane = (adjoint ? 1L : in) * K * K, other = (adjoint ? in : 1L) * K * K;
  for (int v = 0; v < vectors; v++)
    for (int o = 0; o < others; o++) {
      V row_re[K][M], row_im[K][M];
      for (int y = 0; y < K; y++) {
        V taps[K];
        for (int x = 0; x < K; x++)
          for (int c = 0; c < 8; c++) taps[x][c] = kernel[(8 * v + c) * lane + o * other + y * K + x] / (N * N);
        for (int kx = 0; kx < M; kx++) {
          V re{}, im{};
          for (int x = 0; x < K; x++) {
            int k = turn<N>(x - R, kx);
            re += taps[x] * all(roots<N>.cos[k]), im += taps[x] * all(roots<N>.sin[k]);
          }
          row_re[y][kx] = re, row_im[y][kx] = im;
        }
      }
      float* place = to + 16L * (v * others + o);
      for (int kx = 0; kx < M; kx++)
        for (int ky = 0; ky < rows<N>(kx); ky++, place += kernel_row(in, out)) {
          V re{}, im{};
          for (int y = 0; y < K; y++) {
            V c = all(roots<N>.cos[turn<N>(y - R, ky)]), s = all(roots<N>.sin[turn<N>(y - R, ky)]);
            re += row_re[y][kx] * c - row_im[y][kx] * s, im += row_re[y][kx] * s + row_im[y][kx] * c;
          }
          at(place) = re, at(place + 8) = adjoint ? -im : im;
        }
    }
}

template <int N, int K> static void kernel_from_coefficients(const float* from, int out, int in, float* kernel) {
  constexpr int M = N / 2 + 1, R = K / 2;
  for (int v = 0; v < out / 8; v++)
    for (int i = 0; i < in; i++) {
      V taps[K][K];
      for (auto& row : taps) for (auto& tap : row) tap = V{};
      const float* place = from + 16L * (v * in + i);
      for (int kx = 0; kx < M; kx++) {
        V row_re[K], row_im[K];
        for (int y = 0; y < K; y++) row_re[y] = row_im[y] = V{};
        for (int ky = 0; ky < rows<N>(kx); ky++, place += kernel_row(in, out)) {
          V share = all((kx % (N / 2) || ky % (N / 2) ? 2.f : 1.f) / (N * N));  // most coefficients stand for two
          V re = at(place) * share, im = at(place + 8) * share;
          for (int y = 0; y < K; y++) {
            V c = all(roots<N>.cos[turn<N>(y - R, ky)]), s = all(roots<N>.sin[turn<N>(y - R, ky)]);
            row_re[y] += re * c - im * s, row_im[y] += re * s + im * c;
          }
        }
        for (int y = 0; y < K; y++)
          for (int x = 0; x < K; x++)
            taps[y][x] += row_re[y] * all(roots<N>.cos[turn<N>(x - R, kx)]) - row_im[y] * all(roots<N>.sin[turn<N>(x - R, kx)]);
      }
      for (int c = 0; c < 8; c++)
        for (int t = 0; t < K * K; t++) kernel[((8L * v + c) * in + i) * K * K + t] = taps[t / K][t % K][c];
    }
}

// ---- depthwise 7 x 7, channels last, directly: seven neighbours share what is read ----

template <int H> static void padded(const float* x, int channels, V* out) {
  constexpr int W = H + 6;
  for (int p = 0; p < W * W; p++) out[p] = V{};
  for (int p = 0; p < H * H; p++) out[(p / H + 3) * W + p % H + 3] = *(const Unaligned*)(x + (long)p * channels);
}

template <int H> static void depthwise(const float* x, const float* kernel, int images, int channels, bool adjoint, float* out) {
  constexpr int W = H + 6;
  V image[W * W], taps[49];
  for (int v = 0; v < channels / 8; v++) {
    for (int t = 0; t < 49; t++) for (int c = 0; c < 8; c++) taps[t][c] = kernel[(8 * v + c) * 49 + (adjoint ? 48 - t : t)];
    for (int b = 0; b < images; b++) {
      padded<H>(x + (long)b * H * H * channels + 8 * v, channels, image);
      for (int p = 0; p < H * H; p += 7) {
        V s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{};
        #pragma GCC unroll 1
        for (int y = 0; y < 7; y++) {
          const V *in = image + (p / H + y) * W + p % H, *tap = taps + 7 * y;
          #pragma GCC unroll 1
          for (int k = 0; k < 7; k++, in++, tap++) {
            s0 += in[0] * *tap, s1 += in[1] * *tap, s2 += in[2] * *tap, s3 += in[3] * *tap;
            s4 += in[4] * *tap, s5 += in[5] * *tap, s6 += in[6] * *tap;
          }
        }
        const V sums[7] = {s0, s1, s2, s3, s4, s5, s6};
        for (int k = 0; k < 7; k++) *(Unaligned*)(out + ((long)b * H * H + p + k) * channels + 8 * v) = sums[k];
      }
    }
  }
}

template <int H> static void depthwise_gradient(const float* x, const float* y, int images, int channels, float* kernel) {
  constexpr int W = H + 6;
  V image[W * W], grad[H * H], taps[49];
  for (int v = 0; v < channels / 8; v++) {
    for (auto& tap : taps) tap = V{};
    for (int b = 0; b < images; b++) {
      padded<H>(x + (long)b * H * H * channels + 8 * v, channels, image);
      for (int p = 0; p < H * H; p++) grad[p] = *(const Unaligned*)(y + ((long)b * H * H + p) * channels + 8 * v);
      for (int k = 0; k < 7; k++) {
        V s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{};
        for (int row = 0; row < H; row++) {
          const V *in = image + (row + k) * W, *g = grad + row * H;
          #pragma GCC unroll 1
          for (int c = 0; c < H; c++, in++, g++) {
            s0 += in[0] * *g, s1 += in[1] * *g, s2 += in[2] * *g, s3 += in[3] * *g;
            s4 += in[4] * *g, s5 += in[5] * *g, s6 += in[6] * *g;
          }
        }
        V* to = taps + 7 * k;
        to[0] += s0, to[1] += s1, to[2] += s2, to[3] += s3, to[4] += s4, to[5] += s5, to[6] += s6;
      }
    }
    for (int t = 0; t < 49; t++) for (int c = 0; c < 8; c++) kernel[(8 * v + c) * 49 + t] = taps[t][c];
  }
}

// ---- what Python calls: by the side of the images and of the kernels ----

#define BY_SIDE(CALL) if (side == 28) { CALL(32, 28) } else if (side == 14) { CALL(16, 14) } else { CALL(8, 7) }

extern "C" {
int coefficients_(int side) { return side == 28 ? F<32> : side == 14 ? F<16> : F<8>; }

void dense_(int side, const Images* x, const Images* y, int images, int in, int out, const float* kernel, const float* bias, float* spectrum, int from, int to) {
  #define CALL(N, H) dense<N, H>(*x, *y, images, in, out, kernel, bias, spectrum, from, to);
  BY_SIDE(CALL)
  #undef CALL
}
void gradient_(int side, const float* x, const float* y, int groups, int in, int out, float* kernel, int from, int to) {
  #define CALL(N, H) gradient<N>(x, y, groups, in, out, kernel, from, to);
  BY_SIDE(CALL)
  #undef CALL
}
void kernel_to_coefficients_(int side, int width, const float* kernel, int out, int in, int adjoint, float* to) {
  #define CALL(N, H) width == 3 ? kernel_to_coefficients<N, 3>(kernel, out, in, adjoint, to) : kernel_to_coefficients<N, 7>(kernel, out, in, adjoint, to);
  BY_SIDE(CALL)
  #undef CALL
}
void kernel_from_coefficients_(int side, int width, const float* from, int out, int in, float* kernel) {
  #define CALL(N, H) width == 3 ? kernel_from_coefficients<N, 3>(from, out, in, kernel) : kernel_from_coefficients<N, 7>(from, out, in, kernel);
  BY_SIDE(CALL)
  #undef CALL
}
void depthwise_(int side, const float* x, const float* kernel, int images, int channels, int adjoint, float* out) {
  #define CALL(N, H) depthwise<H>(x, kernel, images, channels, adjoint, out);
  BY_SIDE(CALL)
  #undef CALL
}
void depthwise_gradient_(int side, const float* x, const float* y, int images, int channels, float* kernel) {
  #define CALL(N, H) depthwise_gradient<H>(x, y, images, channels, kernel);
  BY_SIDE(CALL)
  #undef CALL
}
}
