// A segmentor exported --format aot-inductor, run by libtorch on a photo of the exported height and width.
//
//     T=$(python -c 'import os, torch; print(os.path.dirname(torch.__file__))')    or an unpacked libtorch
//     g++ -std=c++20 -O2 aot_inductor_run.cpp -I$T/include -I$T/include/torch/csrc/api/include
//         -L$T/lib -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10 -Wl,-rpath,$T/lib -o run
//     ./run segmentor.pt2 photo.ppm map.pgm      writes the map of labels
//
// All of libtorch is linked, needed here or not: the package looks for it. How a photo is normalised stands in the package's metadata.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdio>
#include <exception>
#include <string>

#include "ppm.h"

// "[123.675, 116.28, 103.53]" -> (1, 3, 1, 1)
at::Tensor channels(const std::string& json) {
  float a, b, c;
  if (std::sscanf(json.c_str(), "[%f, %f, %f]", &a, &b, &c) != 3) throw std::runtime_error("not three numbers: " + json);
  return at::tensor({a, b, c}).view({1, 3, 1, 1});
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL.pt2 IMAGE.ppm MAP.pgm\n", argv[0]);
    return 2;
  }
  try {
    c10::InferenceMode guard;
    Image image = read_ppm(argv[2]);
    torch::inductor::AOTIModelPackageLoader model(argv[1]);
    auto about = model.get_metadata();
    at::Tensor x = at::from_blob(image.rgb.data(), {1, image.height, image.width, 3}, at::kByte);
    x = x.permute({0, 3, 1, 2}).to(at::kFloat);
    if (about.at("channel_order") == "\"BGR\"") x = x.flip(1);
    x = ((x - channels(about.at("mean"))) / channels(about.at("std"))).contiguous();
    const at::Tensor map = model.run({x})[0].contiguous();  // (1, height, width)
    write_pgm(argv[3], map.const_data_ptr<int64_t>(), map.size(1), map.size(2));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  return 0;
}
