// Works for a while on several threads with the collector busy, keeps some memory outside the heap, and pauses twice so
// that a snapshot can be taken. The collector and other threads go on during the pause.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.zip.Deflater;

public class Churn {
  static final List<ByteBuffer> kept = new ArrayList<>();
  static final AtomicBoolean stop = new AtomicBoolean();

  static long work(int seed, int rounds) {
    long sum = seed;
    for (int i = 0; i < rounds; i++) {
      byte[] bytes = new byte[10000];
      java.util.Arrays.fill(bytes, (byte) (seed + i));
      Deflater deflater = new Deflater();
      deflater.setInput(bytes);
      deflater.finish();
      sum = sum * 31 + deflater.deflate(new byte[2000]);
      deflater.end();
    }
    return sum;
  }

  static void pause() throws Exception {
    System.out.println("READY");
    System.in.read();
  }

  static void keep(int count) {
    for (int i = 0; i < count; i++) kept.add(ByteBuffer.allocateDirect(64 * 1024));
  }

  public static void main(String[] arguments) throws Exception {
    Thread garbage = new Thread(() -> {
      while (!stop.get()) {
        List<byte[]> all = new ArrayList<>();
        for (int i = 0; i < 500; i++) all.add(new byte[20000]);
        System.gc();
      }
    });
    garbage.start();
    keep(50);
    pause();
    keep(200);
    var pool = Executors.newFixedThreadPool(4);
    List<Future<Long>> results = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      final int seed = i;
      results.add(pool.submit(() -> work(seed, 400)));
    }
    for (Future<Long> result : results) System.out.println(result.get());
    pause();
    stop.set(true);
    garbage.join();
    pool.shutdown();
    System.out.println(kept.size());
    System.exit(3);
  }
}
