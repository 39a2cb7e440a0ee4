// Threads that come and go, programs started and read, memory outside the heap: what NMT watches.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

class Processes {
  public static void main(String[] arguments) throws Exception {
    AtomicLong sum = new AtomicLong();
    for (int round = 0; round < 20; ++round) {
      List<Thread> threads = new ArrayList<>();
      for (int i = 0; i < 25; ++i) {
        final int number = round * 25 + i;
        Thread thread = new Thread(() -> {
          Deflater deflater = new Deflater();
          deflater.setInput(new byte[1000 + number]);
          deflater.finish();
          sum.addAndGet(deflater.deflate(new byte[4096]));
          deflater.end();
        });
        thread.start();
        threads.add(thread);
      }
      for (Thread thread : threads) thread.join();
    }
    System.out.println("deflated " + sum.get());
    List<ByteBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < 200; ++i) buffers.add(ByteBuffer.allocateDirect(10000 + i));
    System.out.println("direct " + buffers.stream().mapToLong(ByteBuffer::capacity).sum());
    for (int i = 0; i < 15; ++i) {
      Process process = new ProcessBuilder("sh", "-c", "seq " + (1000 + i) + " | sort -r").start();
      CRC32 crc = new CRC32();
      crc.update(process.getInputStream().readAllBytes());
      System.out.println(process.waitFor() + " " + crc.getValue());
    }
    Process memory = new ProcessBuilder("jcmd", Long.toString(ProcessHandle.current().pid()), "VM.native_memory").start();
    String report = new String(memory.getInputStream().readAllBytes());
    System.out.println(memory.waitFor() + " " + report.contains("Native Memory Tracking:") + " " +
                       report.contains("Thread (reserved="));
  }
}
