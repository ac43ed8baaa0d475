// Instances in a photo: a detector exported --with-preprocess, run by onnxruntime.
//
//     g++ -std=c++17 -O2 detect.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o detect
//     ./detect model.onnx photo.ppm
//
// ORT is an unpacked release of onnxruntime for C++. The image is a binary PPM: `convert photo.jpg photo.ppm`.
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
  int64_t height, width;
  std::vector<uint8_t> rgb;
};

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, largest = 0;
  if (!(file >> magic >> width >> height >> largest) || magic != "P6" || largest != 255 || width < 1 || height < 1)
    throw std::runtime_error(path + " is not a binary PPM of 8 bits");
  file.get();
  Image image{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
  if (!file.read(reinterpret_cast<char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size())))
    throw std::runtime_error(path + " is truncated");
  return image;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.onnx IMAGE.ppm\n", argv[0]);
    return 2;
  }
  try {
    Image image = read_ppm(argv[2]);
    Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "detect");
    Ort::Session session(env, argv[1], Ort::SessionOptions());
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const std::vector<int64_t> shape = {image.height, image.width, 3};
    const Ort::Value input = Ort::Value::CreateTensor<uint8_t>(memory, image.rgb.data(), image.rgb.size(), shape.data(),
                                                               shape.size());
    const char* inputs[] = {"image"};
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
