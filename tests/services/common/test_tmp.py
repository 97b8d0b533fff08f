from services.common.database import Database
import time
def test_a(database_url):
    d=Database(database_url)
    with d.writing() as c:
        print(c.exec_driver_sql("select 1").scalar())
    d.close()
def test_b(database_url):
    print(database_url)
