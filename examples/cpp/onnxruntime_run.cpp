// A detector or segmentor exported --with-preprocess, run by onnxruntime on a photo.
//
//     g++ -std=c++17 -O2 onnxruntime_run.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o run
//     ./run detector.onnx photo.ppm              prints a line per instance: label, score, x1, y1, x2, y2
//     ./run segmentor.onnx photo.ppm map.pgm     writes the map of labels
//
// ORT is an unpacked release of onnxruntime for C++.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "ppm.h"

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL.onnx IMAGE.ppm [MAP.pgm]\n", argv[0]);
    return 2;
  }
  try {
    Image image = read_ppm(argv[2]);
    Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "run");
    Ort::Session session(env, argv[1], Ort::SessionOptions());
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const std::vector<int64_t> shape = {image.height, image.width, 3};
    const Ort::Value input = Ort::Value::CreateTensor<uint8_t>(memory, image.rgb.data(), image.rgb.size(), shape.data(),
                                                               shape.size());
    const char* inputs[] = {"image"};
    Ort::AllocatorWithDefaultOptions allocator;
    if (std::string(session.GetOutputNameAllocated(0, allocator).get()) == "map") {
      if (argc != 4) throw std::runtime_error("a segmentor: name the file for its map, MAP.pgm");
      const char* outputs[] = {"map"};
      const auto found = session.Run(Ort::RunOptions(), inputs, &input, 1, outputs, 1);
      write_pgm(argv[3], found[0].GetTensorData<int64_t>(), image.height, image.width);
      return 0;
    }
    const char* outputs[] = {"boxes", "scores", "labels"};  // and "masks", bool, of the image's size, where it has any
    const auto found = session.Run(Ort::RunOptions(), inputs, &input, 1, outputs, 3);
    const float* boxes = found[0].GetTensorData<float>();
    const float* scores = found[1].GetTensorData<float>();
    const int64_t* labels = found[2].GetTensorData<int64_t>();
    const int64_t count = found[1].GetTensorTypeAndShapeInfo().GetShape()[0];
    for (int64_t i = 0; i < count; ++i)
      std::printf("%lld %.4f %.1f %.1f %.1f %.1f\n", static_cast<long long>(labels[i]), scores[i], boxes[4 * i],
                  boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  return 0;
}
