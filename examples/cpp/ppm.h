// Binary PPM images, the simplest there are: `convert photo.jpg photo.ppm`, or Pillow's save('photo.ppm').
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
  int64_t height, width;
  std::vector<uint8_t> rgb;  // height × width × 3
};

inline Image read_ppm(const std::string& path) {
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

// A map of labels as a PGM image, whose pixels are the labels.
inline void write_pgm(const std::string& path, const int64_t* labels, int64_t height, int64_t width) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << width << ' ' << height << "\n255\n";
  for (int64_t i = 0; i < height * width; ++i) file.put(static_cast<char>(labels[i]));
  if (!file.flush()) throw std::runtime_error(path + " can not be written");
}
