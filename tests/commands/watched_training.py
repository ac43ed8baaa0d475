"""Run a tool with its options, and note what it keeps: watched_training.py RECORD TOOL [options].

After each full collection of Python's garbage a line is written to RECORD: the bytes that the C library has handed out
and not got back, and the objects that are left. Unlike the memory that a process takes from the system they tell what
is kept from what is free but in pieces, or about to be collected.
"""
import ctypes
import gc
import runpy
import sys


class Mallinfo2(ctypes.Structure):
    """Of glibc 2.33's malloc.h."""
    _fields_ = [(name, ctypes.c_size_t) for name in ('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks',
                                                     'fsmblks', 'uordblks', 'fordblks', 'keepcost')]


def watch(record):
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2

    def note(phase, info):
        if phase == 'stop' and info['generation'] == 2 and not record.closed:
            memory = mallinfo2()
            print(memory.uordblks + memory.hblkhd, len(gc.get_objects()), file=record)
    gc.callbacks.append(note)


if __name__ == '__main__':
    path, *sys.argv = sys.argv[1:]
    with open(path, 'w', buffering=1) as record:
        watch(record)
        runpy.run_path(sys.argv[0], run_name='__main__')
